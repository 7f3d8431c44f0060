"""Run parts as processes, each with a time limit and a log, and leave none behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from check_gpu.parts import Part
from check_gpu.plan import SECONDS
from measuring import machine, shown

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"

SHORTEST = 5
"""A part does not begin with fewer seconds left: PyTorch alone takes them to load."""


@dataclass(frozen=True)
class Outcome:
    """How a part ended, the last line that it printed, and its figures."""

    part: Part
    status: str
    seconds: float
    note: str
    figures: list[dict[str, Any]] = field(default_factory=list)


class Running:
    """A part at work."""

    def __init__(self, part: Part, limit: float, logs: Path) -> None:
        self.part = part
        self._log = logs / f"{part.name.replace(' ', '-')}.log"
        self._begun = time.monotonic()
        self._limit = min(part.seconds, limit)
        path = os.pathsep.join(map(str, (shown.ROOT / "bench", shown.ROOT)))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *part.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=shown.ROOT,
                env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", SECONDS: f"{self._limit:.0f}"},
                start_new_session=True,
            )

    def outcome(self) -> Outcome | None:
        """Return how it ended, or None while it runs; end it if its time is up."""
        seconds = time.monotonic() - self._begun
        status = self._process.poll()
        if status is None and seconds < self._limit:
            return None
        self.kill()
        last, figures = read_log(self._log)
        if status is not None:
            return Outcome(self.part, FAIL if status else PASS, seconds, last, figures)
        ended_by_all = self._limit < self.part.seconds
        note = f"ended after {seconds:.0f} s, {'as the whole check had no time left' if ended_by_all else 'its limit'}"
        return Outcome(self.part, NOT_RUN if ended_by_all else FAIL, seconds, f"{note}; {last}", figures)

    def kill(self) -> None:
        """End the process with all that it has started."""
        all_of_it = machine.tree(self._process.pid) if self._process.poll() is None else []
        for process in reversed(all_of_it):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def run(
    waiting: Iterable[Part], deadline: float, logs: Path, *, at_once: int, on_end: Callable[[Outcome], None]
) -> None:
    """Run parts in order, ``at_once`` at the same time, until the deadline of `time.monotonic`."""
    parts, running = list(waiting), []
    try:
        while parts or running:
            while parts and len(running) < at_once:
                part, left = parts.pop(0), deadline - time.monotonic()
                if left < SHORTEST:
                    on_end(Outcome(part, NOT_RUN, 0, "the whole check had no time left"))
                else:
                    running.append(Running(part, left, logs))
            for each in list(running):
                if outcome := each.outcome():
                    running.remove(each)
                    on_end(outcome)
            time.sleep(0.05)
    finally:
        for each in running:
            each.kill()


def read_log(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Return the last line of a log that is no figure, and the figures."""
    last, figures = "", []
    for line in path.read_text(errors="replace").splitlines():
        try:
            read = json.loads(line)
        except ValueError:
            read = None
        if isinstance(read, dict) and "name" in read:
            figures.append(read)
        elif line.strip():
            last = line.strip()
    return last, figures
