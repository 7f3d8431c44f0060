"""What a task shows, on the console and on Luigi's page."""

from __future__ import annotations

import configparser
import logging
import re
import sys
import time
from types import TracebackType

import luigi

from pipeline.errors import PipelineError
from pipeline.progress import ConsoleMonitor
from tasks.signals import Terminated

SECONDS_BETWEEN_UPDATES = 1.0


class TaskMonitor(ConsoleMonitor):
    """Shows the progress of one task."""

    def __init__(self, task: luigi.Task, name: str) -> None:
        super().__init__(name, alone=luigi.interface.core().workers == 1)
        self._task = task
        self._next_update = time.monotonic()

    def say(self, line: str) -> None:
        super().say(line)
        if self._task.set_status_message is not None:
            self._task.set_status_message(line)

    def progress(self, done: float, total: float, unit: str) -> None:
        super().progress(done, total, unit)
        if time.monotonic() >= self._next_update and self._task.set_progress_percentage is not None and total:
            self._next_update = time.monotonic() + SECONDS_BETWEEN_UPDATES
            self._task.set_progress_percentage(100 * done / total)


def foreseen(error: BaseException | None) -> str | None:
    """Return all that there is to say of an error that needs no traceback; None where it does."""
    if isinstance(error, PipelineError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}. Check the path, who owns it, and the disk."
    wrong = re.match(r"(\w+)\[.*Error when parsing .* '(\w+)'$", str(error)) if isinstance(error, ValueError) else None
    if wrong and error is not None:
        section, name = wrong.groups()
        return f"{section}.{name} cannot be understood: {error.__cause__}. luigi.cfg says what it takes."
    return str(error) if isinstance(error, configparser.Error) else None


class _ForeseenWithoutTraceback(logging.Filter):
    """Reduces an error that is foreseen to its message: where it was raised helps nobody."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = foreseen(record.exc_info[1]) if record.exc_info else None
        if message is not None:
            record.exc_info = None
            record.msg, record.args = message, ()
        return True


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        what = "Terminated" if issubclass(kind, Terminated) else "Interrupted"
        sys.stderr.write(
            f"\n{what}. What is finished is kept, trainings to their last epoch: the same command goes on from there.\n"
        )
    elif (message := foreseen(error)) is not None:
        sys.stderr.write(f"{message}\n")
    else:
        sys.__excepthook__(kind, error, trace)


logging.getLogger("luigi-interface").addFilter(_ForeseenWithoutTraceback())
sys.excepthook = _tell
