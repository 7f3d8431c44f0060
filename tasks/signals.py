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
from typing import NoReturn

from luigi.worker import TaskProcess


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception. Luigi lets Ctrl-C's pass; after any other it would go on with the next task."""


def end_well() -> None:
    """Have this process clean up on SIGTERM before it ends, as it does on Ctrl-C."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _break_off)
        atexit.register(_end_as_asked)


class WorkerProcess:
    """Around each task that Luigi runs; luigi.cfg names it. A process of the task's own ends with the run's."""

    def __init__(self, process: TaskProcess) -> None:
        self._is_forked = process.use_multiprocessing

    def __enter__(self) -> None:
        if self._is_forked:
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, _break_off)
            threading.Thread(target=_end_with_parent, daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_forked and isinstance(error, KeyboardInterrupt):
            raise SystemExit(128 + signal.SIGTERM) from None  # of others multiprocessing prints the traceback


def _break_off(_number: int, _frame: FrameType | None) -> NoReturn:
    """Raise, and let no second signal break off the cleaning up: Ctrl-C is followed by Luigi's SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise Terminated


def _end_with_parent() -> None:
    """Wait for the run to end, however it does, and break off what this worker does."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_as_asked() -> None:
    """Once workers are gone and all is told, end by the signal, so that the exit status says so: 143 in a shell."""
    if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
        return
    for worker in multiprocessing.active_children():
        worker.join()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
