"""A checkout of its own for a test: a copy of the code, in which the real luigi runs on a small archive."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import numpy as np

from pipeline.data.cifar import CLASS_NAMES
from pipeline.data.cifar_writer import write_batches
from pipeline.operations import run_history
from tests.preloaded import LIBRARIES, Preloaded

ROOT = Path(__file__).parents[1]
STAGES = [
    "DownloadCIFAR",
    "ConvertToHDF5",
    "GrayscaleFlat",
    "TrainMLP",
    "Grayscale2D",
    "TrainCNN",
    "EvaluateMLP",
    "EvaluateCNN",
    "Report",
    "HistoryMLP",
    "HistoryCNN",
]
QUICK = ("--engine", "numba", "--device", "cpu", "--threads", "1", "--TrainMLP-epochs", "1", "--TrainCNN-epochs", "1")
"""One thread, one epoch, and the engine that starts in the shortest time."""

LONG = ("--TrainMLP-epochs", "1000000", "--TrainCNN-epochs", "1000000")
"""Epochs that never end."""

KERNELS = ROOT / ".cache" / "numba"
"""Where all checkouts keep compiled kernels, which take ten seconds of CPU."""

PROCESS = {"PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(KERNELS)}
"""Environment variables of every process in a checkout."""

COMPILE = """
import importlib.util, pathlib
for path in pathlib.Path().glob("*/**/*.py"):
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    importlib.util.find_spec(name).loader.get_code(name)
"""
"""Write the bytecode of a checkout, which takes a fifth of the time of a command that finds none."""


def small_archive(path: Path, seed: int = 0, images: int = 40) -> Path:
    """Write an archive of random images in CIFAR-10's classes, ``images`` in each of its six batches."""
    random = np.random.default_rng(seed)
    labels = np.arange(images, dtype=np.uint8) % 10
    path.parent.mkdir(parents=True, exist_ok=True)
    batches = [(random.integers(0, 256, (images, 3, 32, 32), np.uint8), labels) for _ in range(6)]
    write_batches(path, batches, CLASS_NAMES)
    return path


@functools.cache
def libraries() -> Preloaded:
    """Return the process that has imported the libraries that a run needs, but nothing of this project."""
    without_project = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    made = Preloaded(LIBRARIES, Path("/"), without_project | PROCESS)
    atexit.register(made.close)
    return made


class Checkout:
    """The code in a folder of its own, with an archive beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = folder / "archive" / "cifar-10-python.tar.gz"

    @classmethod
    def new(cls, folder: Path) -> Checkout:
        for name in ("pipeline", "tasks"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "luigi.cfg", folder)
        made = cls(folder)
        environment = made.environment()
        del environment["PYTHONDONTWRITEBYTECODE"]
        subprocess.run([sys.executable, "-c", COMPILE], cwd=folder, env=environment, check=True)
        small_archive(made.archive)
        return made

    def copy(self, folder: Path) -> Checkout:
        """Copy the code and the results; the archive keeps its time, but is another file."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text, f"{name} no longer holds {old!r}"
        (self.folder / name).write_text(text.replace(old, new))

    def set(self, section: str, file: str = "luigi.cfg", **values: str) -> None:
        """Set values in a file of settings, as a person does by hand."""
        config = RawConfigParser()
        config.optionxform = str  # type: ignore[assignment,method-assign]
        config.read(self.folder / file)
        config.read_dict({section: values})
        with (self.folder / file).open("w") as opened:
            config.write(opened)

    def command(self, *arguments: str) -> list[str]:
        """Return what runs Luigi in this checkout, with settings that make it quick."""
        program = "import sys; from luigi.cmdline import luigi_run; luigi_run(sys.argv[1:])"
        return [sys.executable, "-c", program, "--module", "tasks", *arguments]

    def environment(self, **extra: str) -> dict[str, str]:
        return os.environ | PROCESS | {"PYTHONPATH": str(self.folder)} | extra

    def start(self, *flags: str, task: str = "Pipeline", **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(task, *self.flags(), *flags),
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def flags(self) -> list[str]:
        return ["--DownloadCIFAR-archive", str(self.archive), *QUICK]

    def run(self, *flags: str, task: str = "Pipeline", status: int = 0, **environment: str) -> dict[str, str]:
        """Run Luigi, and return what became of each stage."""
        command = self.command(task, *self.flags(), *flags)[1:]
        done = self.python(*command, timeout=120, merged=True, **environment)
        self.output = done.stdout
        assert done.returncode == status, self.output
        return run_history.read_history(self.folder / "outputs" / run_history.NAME)[-1].get("stages", {})

    def call(
        self, *command: str, cwd: Path | None = None, timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run any command with this checkout's code, in its folder if not told otherwise."""
        if command[0] == sys.executable:
            return self.python(*command[1:], cwd=cwd, timeout=timeout, **environment)
        return subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def python(
        self, *command: str, cwd: Path | None = None, timeout: float = 60, merged: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python in a process forked from one that has the libraries; see `Preloaded.run`."""
        folder, variables = cwd or self.folder, self.environment(**environment)
        return libraries().run(command, folder=folder, environment=variables, timeout=timeout, merged=merged)

    def pipeline(self, *arguments: str, status: int = 0) -> str:
        """Run ``python -m pipeline`` and return what it prints."""
        done = self.call(sys.executable, "-m", "pipeline", *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def status(self, *flags: str) -> dict[str, dict]:
        rows = json.loads(self.pipeline("status", "--json", *self.flags(), *flags))
        return {row["stage"]: row for row in rows}

    def history(self) -> list[dict]:
        return json.loads(self.pipeline("history", "--json", "--last", "1000"))

    def result(self, stage: str) -> Path:
        """Return the folder of a stage's newest result."""
        return (self.folder / "outputs" / "latest" / stage).resolve()

    def accuracy(self, network: str = "CNN") -> float:
        """Return the test accuracy of the newest evaluation of a network."""
        found: float = json.loads((self.result(f"Evaluate{network}") / "metrics.json").read_text())["accuracy"]
        return found

    def results(self, stage: str) -> list[Path]:
        return [path for path in self.result(stage).parent.iterdir() if not path.name.startswith(".")]

    def files(self) -> dict[str, bytes]:
        """Return what all newest results hold, but for records of when and where."""
        return {
            f"{stage}/{path.name}": path.read_bytes()
            for stage in STAGES
            for path in sorted(self.result(stage).iterdir())
            if path.name not in ("stage.json", "report.html")
        }

    def leftovers(self) -> list[Path]:
        """Return whatever a finished run should not have left behind."""
        found = [
            *self.folder.glob("data/*/.*"),
            *self.folder.glob("outputs/*/.*"),
            *self.folder.glob("outputs/.runs/*"),
        ]
        return [path for path in found if not path.name.endswith(".part")]
