"""Run an alternative in a process of its own, and measure it from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from alternatives import ALTERNATIVES
from measuring import machine, shown

OTHERS = shown.CACHE / "others" / "bin" / "python"
"""A Python that may have libraries that the pipeline's own Python lacks."""


@dataclass(frozen=True)
class Task:
    """The task of an alternative; without ``images`` the whole data set, without ``batch_size`` the declared one."""

    alternative: str
    network: str
    threads: int
    images: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Measured:
    """An epoch.

    Parameters
    ----------
    seconds : float
        Time that passed.
    cpu_seconds : float
        Time of all cores that the alternative used.
    others : float
        Cores that everything else on the machine kept busy meanwhile, on average.
    scores : dict
        Losses and accuracy.
    """

    seconds: float
    cpu_seconds: float
    others: float
    scores: dict[str, float]


class AlternativeProcess:
    """The process of an alternative, ready to compute epochs."""

    def __init__(self, task: Task, python: Path) -> None:
        self.task = task
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, it is closed with the process
        self._process = subprocess.Popen(
            [python, "-m", "alternatives", json.dumps(asdict(task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
            cwd=shown.ROOT,
            env=_environment(task),
        )
        ready = self._answer()
        self.prepare_seconds: float = ready["seconds"]
        self.versions: dict[str, str] = ready["versions"]

    def __enter__(self) -> AlternativeProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def epoch(self) -> Measured:
        """Have it compute an epoch."""
        processes = machine.tree(self._process.pid)
        own, busy = machine.cpu_seconds(processes), machine.busy_seconds()
        self._process.stdin.write("\n")
        answer = self._answer()
        own, busy = machine.cpu_seconds(processes) - own, machine.busy_seconds() - busy
        return Measured(answer["seconds"], own, max(0.0, busy - own) / answer["seconds"], answer["scores"])

    def peak_memory(self) -> int:
        """Return the most bytes that it and the processes that it started have held."""
        return machine.peak_memory(machine.tree(self._process.pid))

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            sys.exit(f"{self.task.alternative} failed on {self.task.network}:\n{self._errors.read()}")
        return json.loads(line)


def python_for(alternative: str, pythons: list[Path]) -> Path | None:
    """Return the first Python that has the libraries of an alternative."""
    libraries = list(ALTERNATIVES[alternative].libraries)
    code = "import sys, importlib.metadata as m; [m.version(name) for name in sys.argv[1:]]"
    for python in pythons:
        if shutil.which(python):
            done = subprocess.run([python, "-c", code, *libraries], stderr=subprocess.DEVNULL, check=False)
            if done.returncode == 0:
                return python
    return None


def _environment(task: Task) -> dict[str, str]:
    threads = str(task.threads)
    counted = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    path = os.pathsep.join(map(str, (shown.ROOT / "bench", shown.ROOT)))
    return os.environ | counted | ALTERNATIVES[task.alternative].environment | {"PYTHONPATH": path}
