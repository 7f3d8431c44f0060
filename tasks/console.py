"""What a task shows, on the console and on Luigi's page."""

from __future__ import annotations

import logging
import time

import luigi

from pipeline.errors import PipelineError
from pipeline.progress import ConsoleMonitor

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


class _OwnErrorsWithoutTraceback(logging.Filter):
    """Reduces an error that the pipeline foresees to its message: where it was raised helps nobody."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, PipelineError):
            record.exc_info = None
            record.msg, record.args = str(error), ()
        return True


logging.getLogger("luigi-interface").addFilter(_OwnErrorsWithoutTraceback())
