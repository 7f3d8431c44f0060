"""Measure a rerun with nothing to do: the pipeline's beside Luigi's own, DVC's and Snakemake's.

DVC and Snakemake are installed from PyPI into environments of their own in ``.cache/bench/``, once.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from measuring import machine, shown
from pipeline.data.cifar import BATCHES, CLASS_NAMES
from pipeline.data.cifar_writer import write_batches

STAGES = 7
"""Stages of DVC and Snakemake: as many as the pipeline has between the archive and the report."""


@dataclass(frozen=True)
class Rerun:
    """A command that has nothing to do, and the pattern of an output that proves it did nothing."""

    name: str
    command: list[str]
    folder: Path
    proof: str
    target: str = ""

    def measure(self) -> float:
        """Run the command and return the seconds that it took."""
        started = time.perf_counter()
        output = run(self.command, self.folder)
        seconds = time.perf_counter() - started
        if not re.search(self.proof, output, re.MULTILINE):
            sys.exit(f"{self.name}: expected an output that shows that nothing ran, matching {self.proof}\n{output}")
        return seconds


def run(command: list[str], folder: Path) -> str:
    """Run a command, which finds modules in its folder, and return its output."""
    own = {"PYTHONPATH": str(folder), "DVC_NO_ANALYTICS": "1"}
    own["PYTHONDONTWRITEBYTECODE"] = ""  # or code that is not installed would be compiled in every run
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout


def luigi_alone(folder: Path) -> Rerun:
    """Prepare one Luigi task that is complete."""
    folder.mkdir()
    (folder / "finished.py").write_text(
        "import luigi\n\n\nclass Finished(luigi.Task):\n    def complete(self):\n        return True\n"
    )
    command = [shown.LUIGI, "--module", "finished", "Finished", "--local-scheduler"]
    return Rerun(f"luigi {metadata.version('luigi')}, one task", command, folder, r"^Did not run any tasks$")


def pipeline(folder: Path) -> list[Rerun]:
    """Run the pipeline once, on random images; prepare the same again, and its status."""
    for name in ("pipeline", "tasks"):
        shutil.copytree(shown.ROOT / name, folder / name)
    shutil.copy(shown.ROOT / "luigi.cfg", folder)
    random = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.uint8) % len(CLASS_NAMES)
    batches = [(random.integers(0, 256, (len(labels), 3, 32, 32), np.uint8), labels) for _ in BATCHES]
    write_batches(folder / "archive.tar.gz", batches, CLASS_NAMES)
    quick = ["--threads", "1", "--TrainMLP-epochs", "1", "--TrainCNN-epochs", "1"]
    flags = ["--DownloadCIFAR-archive", "archive.tar.gz", *quick]
    again = [shown.LUIGI, "--module", "tasks", "Pipeline", *flags]
    status = [sys.executable, "-m", "pipeline", "status", *flags]
    run(again, folder)
    return [
        Rerun("the pipeline", again, folder, r"^(\d+) stages in .* s: \1 reused$", "1.2 x"),
        Rerun("the pipeline's status", status, folder, r"\ASTAGE.*\n(\w+ +cached .*\n)+\Z", "0.5 s"),
    ]


def dvc(folder: Path) -> Rerun | None:
    """Run a chain of DVC stages that copy a file; prepare the same again."""
    version = "3.67.1"
    program = installed("dvc", version)
    if program is None:
        return None
    folder.mkdir()
    stages = [f"  s{i}: {{cmd: cp {i} {i + 1}, deps: ['{i}'], outs: ['{i + 1}']}}\n" for i in range(STAGES)]
    (folder / "dvc.yaml").write_text("stages:\n" + "".join(stages))
    (folder / "0").write_text("data\n")
    again = [program, "repro"]
    for command in ([program, "init", "--no-scm"], [program, "config", "core.check_update", "false"], again):
        run(command, folder)
    proof = rf"\A(Stage 's\d' didn't change, skipping\n){{{STAGES}}}Data and pipelines are up to date\.\n\Z"
    return Rerun(f"DVC {version}, {STAGES} stages", again, folder, proof)


def snakemake(folder: Path) -> Rerun | None:
    """Run a chain of Snakemake rules that copy a file; prepare the same again."""
    version = "9.27.1"
    program = installed("snakemake", version)
    if program is None:
        return None
    folder.mkdir()
    rules = [
        f"rule r{i}:\n    input: '{i}'\n    output: '{i + 1}'\n    shell: 'cp {{input}} {{output}}'\n\n"
        for i in reversed(range(STAGES))
    ]
    (folder / "Snakefile").write_text("".join(rules))  # the first rule's output is what it makes
    (folder / "0").write_text("data\n")
    again = [program, "--cores", "1"]
    run(again, folder)
    return Rerun(f"Snakemake {version}, {STAGES} rules", again, folder, r"^Nothing to be done ")


def installed(name: str, version: str) -> str | None:
    """Return the path of a program from PyPI, installed the first time; None where that cannot be done."""
    environment = shown.CACHE / f"{name}-{version}"
    program = environment / "bin" / name
    if not program.exists():
        print(f"Installing {name} {version} into {environment.relative_to(shown.ROOT)} ...", flush=True)
        venv.create(environment, with_pip=True, clear=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        if subprocess.run([*pip, "install", f"{name}=={version}"], check=False).returncode != 0:
            print(f"{name} {version} cannot be installed; its row is left out.")
            return None
    return str(program)


def summary(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Reduce each command's seconds to median, quartiles and the ratio to the first command's median."""
    quartiles = {name: statistics.quantiles(values, method="inclusive") for name, values in seconds.items()}
    luigi = next(iter(quartiles.values()))[1]
    return {
        name: {"median": median, "lower": lower, "upper": upper, "ratio": median / luigi}
        for name, (lower, median, upper) in quartiles.items()
    }


def main() -> None:
    """Measure, print a table and write ``.cache/bench/rerun.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="how often each is run (default: %(default)d)")
    rounds = parser.parse_args().rounds
    if rounds < 2:
        parser.error(f"--rounds is {rounds}; expected at least 2, for a spread")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contenders = [luigi_alone(folder / "luigi"), *pipeline(folder / "pipeline")]
        contenders += filter(None, [dvc(folder / "dvc"), snakemake(folder / "snakemake")])
        print(f"{rounds} rounds, each command once a round, nothing to do for any of them", flush=True)
        for contender in contenders:
            contender.measure()  # reads from disk and compiles what the next ones find in memory and compiled
        seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for _ in range(rounds):
            for contender in contenders:
                seconds[contender.name].append(contender.measure())

    found = summary(seconds)
    print(f"\n{'':28} {'median':>8} {'quartiles':>18} {'to luigi':>9}  target")
    for contender in contenders:
        row = found[contender.name]
        quartiles = f"{row['lower']:.3f} .. {row['upper']:.3f} s"
        line = f"{contender.name:28} {row['median']:6.3f} s {quartiles:>18} {row['ratio']:7.2f} x  {contender.target}"
        print(line.rstrip())

    shown.keep("rerun", {"machine": machine.description(), "summary": found, "seconds": seconds})


if __name__ == "__main__":
    main()
