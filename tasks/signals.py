"""End well on SIGTERM and Ctrl-C, with one worker and with several.

Luigi itself ends on SIGTERM where it stands: half-made files stay, and its worker processes compute on without
it. On Ctrl-C it ends them in the same way.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # this is imported before Luigi, which takes a while
    from luigi.worker import TaskProcess


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception. Luigi lets Ctrl-C's pass; after any other it would go on with the next task."""


class _Break:
    """Breaks off this process, once: what cleans up afterwards is left in peace.

    Ctrl-C reaches a worker twice, from the terminal and as SIGTERM from Luigi.
    """

    def __init__(self) -> None:
        self.asked_by: int | None = None

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._handle)
        sys.unraisablehook = _keep_quiet_of_breaks

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.asked_by is None:
            self.asked_by = number
            self.check()

    def check(self) -> None:
        """Raise if a signal has come."""
        if self.asked_by is not None:
            raise Terminated if self.asked_by == signal.SIGTERM else KeyboardInterrupt


_BREAK = _Break()
check = _BREAK.check
"""To be called wherever work may be broken off: what was raised when the signal came may have been lost.

Python drops what is raised in a weak reference's callback, and libraries drop it elsewhere.
"""


def end_well() -> None:
    """Have this process clean up on SIGTERM before it ends, as on Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        _BREAK.install()
        atexit.register(_end_as_asked)


class WorkerProcess:
    """Around each task that Luigi runs; luigi.cfg names it. A process of the task's own ends with the run's."""

    def __init__(self, process: TaskProcess) -> None:
        self._is_forked = process.use_multiprocessing

    def __enter__(self) -> None:
        if self._is_forked:
            _BREAK.install()
            threading.Thread(target=_end_with_parent, daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_forked and isinstance(error, KeyboardInterrupt):
            raise SystemExit(128 + signal.SIGTERM) from None  # of others multiprocessing prints the traceback


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say that the program was broken off, as Python's own hook says what else has ended it."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    what = "Terminated" if issubclass(kind, Terminated) else "Interrupted"
    sys.stderr.write(
        f"\n{what}. What is finished is kept, trainings to their last epoch: the same command goes on from there.\n"
    )


def _keep_quiet_of_breaks(lost: sys.UnraisableHookArgs) -> None:
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)


def _end_with_parent() -> None:
    """Wait for the run to end, however it does, and break off what this worker does."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_as_asked() -> None:
    """Once workers are gone and all is told, end by the signal: the exit status is 130 or 143 in a shell."""
    if _BREAK.asked_by is None:
        return
    for worker in multiprocessing.active_children():
        worker.join()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    signal.signal(_BREAK.asked_by, signal.SIG_DFL)
    os.kill(os.getpid(), _BREAK.asked_by)


sys.excepthook = tell
