"""Run work unattended: alone in its outputs folder, with a log, a status file, metrics, and a notice of a failure.

There are two processes. The worker may end at any point of its work; the supervisor records its exit status. The worker
is forked after everything is imported, so that a supervised run takes no longer than one by hand.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any, NoReturn

from pipeline.errors import PipelineError, StoreError
from pipeline.files.locks import Lock
from pipeline.files.whole_file import write_text
from pipeline.operations import run_history, status_file
from pipeline.operations.notices import Notice
from pipeline.operations.status_file import RunStatus

LOCK_NAME = ".scheduled.lock"
LOG_NAME = "scheduled.log"
MESSAGE_CHARACTERS = 4000
"""Maximum length of a failure's message, for mail and chat; the log has all of it."""
PR_SET_PDEATHSIG = 1
"""The option of prctl(2) for a signal at the parent's death, from linux/prctl.h."""


@dataclass(frozen=True)
class Supervision:
    """A run to supervise, and where its traces go.

    Parameters
    ----------
    run : str
        The run's identifier in the history.
    outputs : Path
        The folder in which no other supervised run works at the same time.
    waits : bool
        While another run is at work, wait for it to end (True) or do nothing (False).
    busy_status : int
        The exit status of doing nothing.
    log_bytes : int
        Size from which on the log is rotated.
    log_files : int
        Rotated logs to keep.
    metrics : Path
        The file of metrics.
    notice : Notice
        The command and the webhook to notify of a failure.
    """

    run: str
    outputs: Path
    waits: bool
    busy_status: int
    log_bytes: int
    log_files: int
    metrics: Path
    notice: Notice

    @property
    def log(self) -> Path:
        """The log of all runs."""
        return self.outputs / "logs" / LOG_NAME

    @property
    def history(self) -> Path:
        """The history of all runs."""
        return self.outputs / run_history.NAME


def supervise(supervision: Supervision, work: Callable[[], None], command: list[str]) -> int:
    """Do work in a process of its own, and return its exit status.

    Parameters
    ----------
    work : callable
        Called in the worker, whose output goes to the log.
    command : list of str
        The command that replaces this process after it has waited for another run: code and settings may have changed
        since this process loaded them.
    """
    supervision.outputs.mkdir(parents=True, exist_ok=True)
    starts, start = os.pipe()
    gc.freeze()  # otherwise the first collection in each process copies the memory that both share
    worker = os.fork()
    if worker == 0:
        os.close(start)
        _work(starts, supervision.log, work)
        os._exit(0)
    os.close(starts)
    lock = Lock(supervision.outputs / LOCK_NAME)
    with lock.tried() as is_free:
        if is_free:
            with _open_log(supervision) as log:
                return _Watch(supervision, log).until_end(worker, start)
        if not supervision.waits:
            _report_busy(lock, "this run does nothing. Set [schedule] when_busy = wait to wait")
            return supervision.busy_status
    return _restart_later(lock, command)


def _work(starts: int, log: Path, work: Callable[[], None]) -> None:
    """Wait for the supervisor to hold the lock, then work; end if the supervisor ends first."""
    if sys.platform == "linux":  # elsewhere the work goes on alone after the supervisor is killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if not os.read(starts, 1):
        os._exit(0)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    work()


def _restart_later(lock: Lock, command: list[str]) -> NoReturn:
    with lock.held(lambda _: _report_busy(lock, "this run waits for it to end")):
        pass
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606, it is this program


def _report_busy(lock: Lock, consequence: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # the other run may end at any moment
        since = datetime.fromtimestamp(lock.path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        sys.stderr.write(f"{lock.holder() or 'another process'} has run the pipeline since {since}; {consequence}.\n")


@dataclass
class _Watch:
    """Records the beginning and the end of a run."""

    supervision: Supervision
    log: IO[bytes]
    clock: float = field(default_factory=time.monotonic)

    def until_end(self, worker: int, start: int) -> int:
        """Start the worker, wait for its end, record it, and return its exit status."""
        log_start, history_start = self.log.tell(), _size(self.supervision.history)
        status = self._begin()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on a terminal reaches the worker by itself
        signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGTERM))
        os.write(start, b"!")
        ended_as = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        status = self._write_files(self._ended(status, ended_as, self._summary(history_start), log_start))
        if status.exit_status:
            self._notify(status)
        return status.exit_status or 0

    def _begin(self) -> RunStatus:
        outputs = self.supervision.outputs
        status = RunStatus(
            state="running",
            run=self.supervision.run,
            process=os.getpid(),
            host=socket.gethostname(),
            log=str(self.supervision.log.resolve()),
            started=_now(),
            last_success=status_file.last_success(outputs),
        )
        status.write(outputs)
        self._log_line(f"Run {status.run} begins: process {status.process} on {status.host}.")
        return status

    def _summary(self, history_start: int) -> dict[str, Any]:
        """Return the run's entry in the history, or an empty dict where it wrote none."""
        runs = run_history.read_history(self.supervision.history, history_start)
        return next((run for run in runs if run["run"] == self.supervision.run), {})

    def _ended(self, status: RunStatus, ended_as: int, summary: dict[str, Any], log_start: int) -> RunStatus:
        now, exit_status = _now(), 128 - ended_as if ended_as < 0 else ended_as
        ended = replace(
            status,
            state="failed" if exit_status else "ok",
            ended=now,
            last_success=status.last_success if exit_status else now,
            seconds=round(time.monotonic() - self.clock, 3),
            exit_status=exit_status,
            stages=summary.get("stages", {}),
            accuracy={
                stage.removeprefix("Evaluate").lower(): value for stage, value in summary.get("accuracy", {}).items()
            },
            message=self._message(ended_as, log_start) if exit_status else None,
        )
        self._log_line(f"Run {status.run} ended with exit status {exit_status} after {ended.seconds} s.")
        return ended

    def _message(self, ended_as: int, log_start: int) -> str:
        """Return the run's log from its first error on; where there is no error, its end."""
        with self.supervision.log.open("rb") as log:
            log.seek(log_start)
            text = log.read().decode(errors="replace")
        _, error, rest = text.partition("ERROR: ")
        shown = rest[:MESSAGE_CHARACTERS] if error else text[-MESSAGE_CHARACTERS:]
        killed = f"Killed by {signal.Signals(-ended_as).name}.\n" if ended_as < 0 else ""
        return killed + shown.strip()

    def _write_files(self, status: RunStatus) -> RunStatus:
        """Write metrics and status; the run has failed if one of them cannot be written."""
        outputs = self.supervision.outputs
        writers: list[Callable[[RunStatus], None]] = [
            lambda status: write_text(self.supervision.metrics, status.metrics(outputs), StoreError),
            lambda status: status.write(outputs),
        ]
        for write in writers:
            try:
                write(status)
            except PipelineError as error:
                self._log_line(str(error))
                status = replace(
                    status,
                    state="failed",
                    last_success=status_file.last_success(outputs),
                    exit_status=status.exit_status or 1,
                    message="\n".join(filter(None, [status.message, str(error)])),
                )
        return status

    def _notify(self, status: RunStatus) -> None:
        text = f"The pipeline in {Path.cwd()} on {status.host} failed with exit status {status.exit_status}."
        text += f"\n{status.message}\nThe log is {status.log}."
        facts = {"exit_status": status.exit_status, "host": status.host, "checkout": str(Path.cwd())}
        facts |= {"started": status.started, "log": status.log}
        self.supervision.notice.send(text, facts, self.log, self._log_line)
        sys.stderr.write(f"{text}\n")

    def _log_line(self, line: str) -> None:
        self.log.write(f"{_now()} {line}\n".encode(errors="backslashreplace"))


def _open_log(supervision: Supervision) -> IO[bytes]:
    """Open the log at its end; rotate it first if it is full."""
    path = supervision.log
    path.parent.mkdir(parents=True, exist_ok=True)
    if _size(path) >= supervision.log_bytes:
        rotated = RotatingFileHandler(path, backupCount=supervision.log_files, delay=True)
        rotated.doRollover()
        rotated.close()
    return path.open("ab", buffering=0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
