"""Measure the way of a fresh clone to the report: without a remote, as the first machine that has one, as the second.

The remote is a folder, and then a bucket of SeaweedFS, a server with S3's protocol, both on this machine's disk: over a
network, the bytes take longer. The second machine has no archive, and nowhere to download one from. The set-up of
``.venv`` and the compilation of kernels are left out.

Run it with ``python bench/remote.py [--archive PATH] [--epochs 1]``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from measuring import machine, shown
from pipeline.files.digests import file_digest
from tests.checkout import small_archive
from tests.object_store import ObjectStore

STAGES = 11
"""Stages of ``luigi --module tasks Pipeline``."""


@dataclass
class Clone:
    """A clone of the project, in a folder of its own."""

    folder: Path
    flags: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Clone:
        for name in ("pipeline", "tasks"):
            shutil.copytree(shown.ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(shown.ROOT / "luigi.cfg", self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def run(self, outcome: str) -> float:
        """Run the pipeline, in which each stage must have this outcome, and return the seconds that it took."""
        kernels = {"NUMBA_CACHE_DIR": str(shown.ROOT / ".cache" / "numba")}
        started = time.perf_counter()
        done = subprocess.run(
            [shown.LUIGI, "--module", "tasks", "Pipeline", *self.flags],
            cwd=self.folder,
            env=os.environ | self.environment | kernels | {"PYTHONPATH": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        if done.returncode or not re.search(
            rf"^{STAGES} stages in .* s: {STAGES} {outcome}$", done.stdout, re.MULTILINE
        ):
            sys.exit(f"Expected {STAGES} stages that are {outcome}:\n{done.stdout}")
        return seconds

    def size(self) -> int:
        """Return the bytes in its folders of results."""
        return sum(
            file.stat().st_size
            for name in ("data", "outputs")
            for file in (self.folder / name).rglob("*")
            if file.is_file() and not file.is_symlink()
        )


@contextlib.contextmanager
def remotes(folder: Path) -> Iterator[dict[str, tuple[str, dict[str, str]]]]:
    """Return the URL of each empty remote, and the environment variables that lead to it."""
    found: dict[str, tuple[str, dict[str, str]]] = {"a folder": (f"file://{folder}/remote", {})}
    with contextlib.ExitStack() as stack:
        if shutil.which("weed", path=str(Path(sys.executable).parent)):
            place = stack.enter_context(contextlib.closing(ObjectStore())).place()
            found["S3"] = (place.url, place.environment)
        else:
            print("There is no SeaweedFS in this environment; its rows are left out.")
        yield found


def main() -> None:
    """Measure, print a table and write ``.cache/bench/remote.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help="an archive on disk (default: a small one of random images)")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of each network (default: %(default)d)")
    options = parser.parse_args()
    if options.archive and not options.archive.is_file():
        parser.error(f"there is no archive at {options.archive}")

    shown.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shown.CACHE) as temporary:
        folder = Path(temporary)
        small = small_archive(folder / "small.tar.gz")
        archive = options.archive.absolute() if options.archive else small
        rows = measure(folder, small, archive, options.epochs)
    print("\n" + shown.markdown_table(["", "seconds", "results on its disk"], [row.cells() for row in rows]))
    shown.keep(
        "remote", {"machine": machine.description(), "archive": str(archive), "rows": [vars(row) for row in rows]}
    )


@dataclass(frozen=True)
class Row:
    """A run: what it was, its seconds, and the bytes of results that are on that machine's disk afterwards."""

    name: str
    seconds: float
    size: int

    def cells(self) -> list[str]:
        return [self.name, shown.seconds(self.seconds), shown.megabytes(self.size)]


def measure(folder: Path, small: Path, archive: Path, epochs: int) -> list[Row]:
    """Run the pipeline in fresh clones, alone and with each remote."""
    rows: list[Row] = []

    def note(name: str, clone: Clone, outcome: str) -> None:
        rows.append(Row(name, clone.run(outcome), clone.size()))
        print(f"  {name}: {shown.seconds(rows[-1].seconds)}", flush=True)

    common = ["--engine", "numba", "--device", "cpu"]
    common += [f"--{network}-epochs={epochs}" for network in ("TrainMLP", "TrainCNN")]
    here = [*common, "--DownloadCIFAR-archive", str(archive)]
    nowhere = [*common, "--DownloadCIFAR-sources", "http://127.0.0.1:9/none"]
    nowhere += ["--DownloadCIFAR-sha256", file_digest(archive)]
    with Clone(folder / "first", [*common, "--DownloadCIFAR-archive", str(small)]) as clone:
        clone.run("computed")  # compiles kernels
    with Clone(folder / "alone", here) as clone:
        note("without a remote", clone, "computed")
    with remotes(folder) as found:
        for name, (url, environment) in found.items():
            remote = ["--store-remote", url]
            with Clone(folder / "writer", [*here, *remote], environment) as clone:
                note(f"{name}: the first machine, which writes there", clone, "computed")
            with Clone(folder / "reader", [*nowhere, *remote], environment) as clone:
                note(f"{name}: the second machine", clone, "reused")
                note(f"{name}: the same again", clone, "reused")
    return rows


if __name__ == "__main__":
    main()
