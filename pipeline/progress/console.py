"""Print progress for people: lines and a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import math
import sys
import time
from typing import Self

from pipeline.progress.live_lines import LiveLines
from pipeline.progress.monitor import Monitor
from pipeline.progress.terminal import highlighted

SECONDS_BETWEEN_LOG_LINES = 10.0
SECONDS_BETWEEN_DRAWINGS = 0.1


class ConsoleMonitor(Monitor):
    """Prints the reports of one piece of work: on a terminal its bar is one of the `LiveLines`.

    Parameters
    ----------
    name : str
        The name of the work, in front of its progress.
    place : str
        The number of the work among all, such as ``stage 2 of 7``, behind its name.
    alone : bool
        False if other processes write to the same console at the same time: then each line begins with the name.
    """

    def __init__(self, name: str, place: str = "", *, alone: bool = True) -> None:
        self._name = name
        self.title = f"{name} ({place})" if place else name
        self._alone = alone
        self._begun: tuple[float, float] | None = None
        self._unit = ""
        self._next_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if LiveLines.active:
            LiveLines.active.show(None)

    def log(self, line: str) -> None:
        name = "" if self._alone or line.startswith(self.title) else f"{self._name} | "
        sys.stdout.write(f"{highlighted(name + line)}\n")  # in one call, so that no other line gets between
        sys.stdout.flush()

    def progress(self, done: float, total: float, unit: str) -> None:
        now = time.monotonic()
        lines = LiveLines.active
        interval = SECONDS_BETWEEN_DRAWINGS if lines else SECONDS_BETWEEN_LOG_LINES
        if self._begun is None or unit != self._unit:  # another kind of work, such as a fetch before a training
            self._unit = unit
            self._begun = now, done  # work done before, such as the beginning of a resumed download, took no time now
            self._next_line = now if lines else now + interval
        if now < self._next_line:
            return
        self._next_line = now + interval
        from tqdm import tqdm

        begun_at, begun_with = self._begun
        meter = tqdm.format_meter(
            done,
            total if math.isfinite(total) else None,
            now - begun_at,
            ncols=lines.size().columns - 1 if lines else 0,
            prefix=self.title,
            unit=unit,
            unit_scale=True,
            initial=begun_with,
        )
        if lines:
            lines.show(meter)
        else:
            self.log(meter)
