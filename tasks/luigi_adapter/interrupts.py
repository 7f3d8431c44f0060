"""End a run cleanly on SIGTERM and Ctrl-C, with one worker or several.

Luigi 3.8.1 ends at once on SIGTERM: unfinished files stay, and its worker processes go on computing. Its Ctrl-C ends
the workers in the same way. This module can go when Luigi interrupts each process by an exception, and waits for it.
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

from pipeline.errors import PipelineError

if TYPE_CHECKING:  # importing Luigi takes 0.1 s, in which a signal may come
    from luigi.worker import TaskProcess


STATUS_OF_SETTINGS = 40
"""Exit status of a run with wrong settings, where luigi.cfg does not set another."""
KEPT = "Finished results are kept, and trainings to their last epoch: the same command resumes them."


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception: Luigi ends on a KeyboardInterrupt, and after any other starts the next task."""


_received: list[int] = []
"""The signal that has interrupted this process."""


def raise_if_signalled() -> None:
    """Raise if a signal has come. Monitors call it, since work may stop there.

    The exception that the signal raises may be lost: Python drops those raised in the callback of a weak reference.
    """
    if _received:
        raise Terminated if _received[0] == signal.SIGTERM else KeyboardInterrupt


def is_ending() -> bool:
    """Return whether a signal has come, so that nothing should wait any more."""
    return bool(_received)


def end_cleanly() -> None:
    """Clean up on SIGTERM before this process ends, as on Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        _handle_signals()
        atexit.register(_end_by_signal)


class WorkerProcess:
    """Context of each task that Luigi runs (``task_process_context`` in luigi.cfg).

    A worker process is interrupted when the run's process is gone.
    """

    def __init__(self, process: TaskProcess) -> None:
        self._is_forked = process.use_multiprocessing

    def __enter__(self) -> None:
        if self._is_forked:
            _handle_signals()
            threading.Thread(target=_end_with_parent, daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_forked and isinstance(error, KeyboardInterrupt):
            raise SystemExit(128 + signal.SIGTERM) from None  # multiprocessing prints a traceback for other exceptions


def _handle_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    sys.unraisablehook = _ignore_interrupts


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """Interrupt this process once: a second signal must not interrupt the cleaning-up.

    Ctrl-C reaches a worker twice, from the terminal and as Luigi's SIGTERM.
    """
    if not _received:
        _received.append(number)
        raise_if_signalled()


def _ignore_interrupts(lost: sys.UnraisableHookArgs) -> None:
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)


def _end_with_parent() -> None:
    """Wait until the run's process has ended, then interrupt this worker."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_by_signal() -> None:
    """End by the signal, after the workers and all output: the exit status in a shell is 130 or 143."""
    if not _received:
        return
    for worker in multiprocessing.active_children():
        worker.join()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    signal.signal(_received[0], signal.SIG_DFL)
    os.kill(os.getpid(), _received[0])


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Replace the traceback of an interrupt, or of a luigi.cfg that cannot be parsed, by a line."""
    if isinstance(error, PipelineError):
        sys.stderr.write(f"{error}\n")
        sys.exit(STATUS_OF_SETTINGS)
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write(f"\n{'Terminated' if issubclass(kind, Terminated) else 'Interrupted'}. {KEPT}\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _report  # until `console` replaces it
