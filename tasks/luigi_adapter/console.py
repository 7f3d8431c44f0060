"""Show the progress of tasks, and the errors of failed ones, on the console and on Luigi's page.

Written for Luigi 3.8.1, which logs a traceback for each failed task, and the death of a worker only at level INFO. This
module can go when Luigi logs the message of an expected error alone, and the death of a worker as an error.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import sys
import time
import warnings
from types import TracebackType

import luigi
from luigi.parameter import UnconsumedParameterWarning

from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.live_lines import SharedNotes
from tasks.luigi_adapter import interrupts
from tasks.luigi_adapter.errors import end, message_of

SECONDS_BETWEEN_UPDATES = 1.0
"""Each update of Luigi's page is a request to luigid."""


class TaskMonitor(ConsoleMonitor):
    """Report the progress of a task to the console and to Luigi's page; stop it where a signal has come."""

    def __init__(self, task: luigi.Task, name: str, place: str = "") -> None:
        super().__init__(name, place, alone=luigi.interface.core().workers == 1)
        self._task = task
        self._next_update = time.monotonic()

    def log(self, line: str) -> None:
        interrupts.raise_if_signalled()
        super().log(line)
        if self._task.set_status_message is not None:
            self._task.set_status_message(line)

    def progress(self, done: float, total: float, unit: str) -> None:
        interrupts.raise_if_signalled()
        super().progress(done, total, unit)
        if time.monotonic() >= self._next_update and self._task.set_progress_percentage is not None and total:
            self._next_update = time.monotonic() + SECONDS_BETWEEN_UPDATES
            self._task.set_progress_percentage(100 * done / total)


class _MessageOnly(logging.Filter):
    """Replace the traceback of an expected error by its message, logged once in a run."""

    logged: SharedNotes | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            record.exc_info = None  # Luigi passes exc_info=True for errors that it has handled, too
        elif (message := message_of(error)) is not None:
            record.exc_info = None
            record.msg, record.args = message, ()
            return self.is_new(message)
        return True

    def is_new(self, message: str) -> bool:
        """Return whether no process of the run has logged a message before."""
        if self.logged is None:
            return True
        with self.logged.held() as logged:
            is_new = message not in logged
            logged[message] = ""
        return is_new


_MESSAGE_ONLY = _MessageOnly()


def warn_once(message: str) -> None:
    """Print a warning on stderr, once in a run."""
    if _MESSAGE_ONLY.is_new(message):
        logging.getLogger("luigi-interface").warning(message)


def share_messages() -> None:
    """Let worker processes, before they are forked, know the messages that another has logged."""
    with contextlib.suppress(OSError):  # no disk to keep a lock on
        _MESSAGE_ONLY.logged = SharedNotes()


@luigi.Task.event_handler(luigi.Event.PROCESS_FAILURE)  # type: ignore[untyped-decorator]
def _log_death(task: luigi.Task, message: str) -> None:
    """Log that the process of a task has died."""
    name = getattr(task, "stage_name", task.task_family)
    code = int(message.rpartition(" ")[2])
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    if code == -signal.SIGKILL:
        unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) of macOS counts bytes, that of Linux kilobytes
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
        how += (
            f", perhaps by the system because memory ran out (the largest process of this run had {most / 1e6:,.0f} MB)"
            ". If so, end other programs, or take --workers 1"
        )
    logging.getLogger("luigi-interface").error(f"{name}: its process {how}. {interrupts.KEPT}")


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End with the message of an expected error, a line for an interrupt, and a traceback for anything else."""
    if message_of(error) is not None:
        end(error)
    _report_interrupts(kind, error, trace)


warnings.simplefilter("ignore", UnconsumedParameterWarning)  # `config_files.check_files` raises an error instead
logging.getLogger("luigi-interface").addFilter(_MESSAGE_ONLY)
_report_interrupts = sys.excepthook
sys.excepthook = _report
