"""Print progress for people: lines and a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from pipeline.progress.live_lines import LiveLines
from pipeline.progress.monitor import Monitor
from pipeline.progress.terminal import highlighted

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LOG_LINES = 10.0
SECONDS_BETWEEN_DRAWINGS = 0.1


class ConsoleMonitor(Monitor):
    """Prints the reports of one piece of work.

    Parameters
    ----------
    name : str
        The name of the work, in front of its progress.
    place : str
        The number of the work among all, such as ``stage 2 of 7``, behind its name.
    alone : bool
        False if other processes write to the same console at the same time: then each line begins with the name, and
        on a terminal each process has a bar in `LiveLines`.
    """

    def __init__(self, name: str, place: str = "", *, alone: bool = True) -> None:
        self._name = name
        self.title = f"{name} ({place})" if place else name
        self._alone = alone
        self._bar: tqdm[Any] | None = None
        self._started = time.monotonic()
        self._begun_at: float | None = None
        self._next_line = self._started + SECONDS_BETWEEN_LOG_LINES
        self._next_drawing = self._started

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if not self._alone and LiveLines.active:
            LiveLines.active.show(None)

    def log(self, line: str) -> None:
        from tqdm import tqdm

        if self._alone:
            tqdm.write(highlighted(line))
        else:
            name = "" if line.startswith(self.title) else f"{self._name} | "
            sys.stdout.write(f"{highlighted(name + line)}\n")  # in one call, so that no other line gets between
        sys.stdout.flush()

    def progress(self, done: float, total: float, unit: str) -> None:
        if self._begun_at is None:
            self._begun_at = done  # work done before, such as the beginning of a resumed download, took no time now
            self._started = time.monotonic()
            self._next_line = self._started + SECONDS_BETWEEN_LOG_LINES
        if self._alone and sys.stderr.isatty():
            self._draw(done, total, unit)
        elif not self._alone and LiveLines.active:
            if time.monotonic() >= self._next_drawing:
                self._next_drawing = time.monotonic() + SECONDS_BETWEEN_DRAWINGS
                LiveLines.active.show(self._meter(done, total, unit, LiveLines.active.size().columns - 1))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LOG_LINES
            self.log(self._meter(done, total, unit))

    def _meter(self, done: float, total: float, unit: str, columns: int = 0) -> str:
        from tqdm import tqdm

        elapsed = time.monotonic() - self._started
        known = total if math.isfinite(total) else None
        return str(
            tqdm.format_meter(
                done, known, elapsed, columns, self.title, unit=unit, unit_scale=True, initial=self._begun_at
            )
        )

    def _draw(self, done: float, total: float, unit: str) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                desc=self.title, total=total, initial=done, unit=unit, unit_scale=True, leave=False, file=sys.stderr
            )
        self._bar.update(done - self._bar.n)
