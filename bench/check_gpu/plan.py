"""Pass a plan to each part of the check, and report its figures."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from measuring import shown
from pipeline.data import cifar_writer, digits
from pipeline.data.dataset import CIFAR_TITLE

SECONDS = "CHECK_GPU_SECONDS"
"""Environment variable with the seconds that a part may take."""


@dataclass(frozen=True)
class Plan:
    """What to check, and where.

    Parameters
    ----------
    device : str
        ``cuda``, or ``cpu`` to try this command: then all work is small.
    engines : list of str
        The engines to check on it.
    archive : str
        CIFAR-10 for the article's table; empty for the small images that other trainings take.
    work : str
        A folder for data sets and results, which is removed afterwards.
    out : str
        The folder of what the command leaves.
    """

    device: str
    engines: list[str]
    archive: str
    work: str
    out: str

    @property
    def is_trial(self) -> bool:
        """Whether only the command itself is tried, without a GPU."""
        return self.device == "cpu"

    @property
    def images(self) -> int | None:
        """Images of an epoch; None for as many as the data set has."""
        return 1000 if self.is_trial else None

    def as_argument(self) -> str:
        """Write it for `read`."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls) -> Plan:
        """Read it from the command line of a part."""
        return cls(**json.loads(sys.argv[1]))

    def luigi(self, task: str, *flags: str, archive: str, results: str) -> Path:
        """Run a task on an archive, or on the small images; return the folder of the latest results.

        Data sets and results go into the folder ``results`` of ``work``. End this part if the task fails; what it
        prints is already in the part's log.
        """
        folder = Path(self.work, results)
        path, title = (archive, CIFAR_TITLE) if archive else small_archive(Path(self.work, "small.tar.gz"))
        command = [sys.executable, "-m", "tasks", task, *flags, "--data=", f"--data-dir={folder / 'data'}"]
        command += [f"--outputs-dir={folder / 'outputs'}", f"--DownloadCIFAR-archive={path}"]
        command += [f"--ConvertToHDF5-title={title}"]
        done = subprocess.run(command, cwd=shown.ROOT, check=False)
        if done.returncode:
            sys.exit(f"{task} {' '.join(flags)} ended with exit status {done.returncode}")
        return folder / "outputs" / "latest"


def small_archive(path: Path) -> tuple[Path, str]:
    """Write the demo's digits or, without scikit-learn, images made up; return path and title.

    Parts side by side may each write it: all write the same bytes, and each of them a whole file.
    """
    if importlib.util.find_spec("sklearn"):
        digits.write_archive(path)
        return path, "scikit-learn's digits"
    generator = np.random.default_rng(1)
    labels = np.arange(1794, dtype=np.uint8) % 10
    patterns = generator.integers(0, 160, (10, 3, 8, 8)).repeat(4, 2).repeat(4, 3)
    images = patterns[labels] + generator.integers(0, 96, (len(labels), 3, 32, 32))
    names = [f"pattern {number}" for number in range(10)]
    cifar_writer.write_archive(path, images.astype(np.uint8), labels, names)
    return path, "patterns made up"


def figure(name: str, **values: Any) -> None:
    """Report figures under a name, as a line of JSON in the part's log."""
    print(json.dumps({"name": name, **values}), flush=True)


def seconds_left() -> float:
    """Return the seconds that this part may take."""
    return float(os.environ[SECONDS])
