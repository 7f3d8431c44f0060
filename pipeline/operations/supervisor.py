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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import NoReturn

from pipeline.errors import StoreError
from pipeline.files.locks import Lock
from pipeline.files.whole_file import write_text
from pipeline.operations import run_history, status_file
from pipeline.operations.notices import Notice
from pipeline.operations.status_file import RunStatus

MESSAGE_CHARACTERS = 4000
"""Maximum length of a failure's message, for mail and chat; the log has all of it."""


@dataclass(frozen=True)
class Supervisor:
    """Does work in a process of its own, and records its beginning and its end.

    Parameters
    ----------
    outputs : Path
        The folder in which no other supervised run works at the same time.
    busy_status : int or None
        The exit status while another run is at work; None waits for that to end.
    log_bytes, log_files : int
        Size from which on the log is rotated, and rotated logs to keep.
    """

    run: str
    outputs: Path
    busy_status: int | None
    log_bytes: int
    log_files: int
    metrics: Path
    notice: Notice

    @property
    def log(self) -> Path:
        """The log of all runs."""
        return self.outputs / "logs" / "scheduled.log"

    def supervise(self, work: Callable[[], None], command: list[str]) -> int:
        """Do work, whose output goes to the log, and return its exit status.

        The command replaces this process after it has waited for another run: code and settings may have changed since
        this process loaded them.
        """
        self.outputs.mkdir(parents=True, exist_ok=True)
        starts, start = os.pipe()
        gc.freeze()  # otherwise the first collection in each process copies the memory that both share
        worker = os.fork()
        if worker == 0:
            os.close(start)
            self._work(starts, work)
            os._exit(0)
        os.close(starts)
        lock = Lock(self.outputs / ".scheduled.lock")
        with lock.tried() as is_free:
            if is_free:
                return self._watch(worker, start)
            if self.busy_status is not None:
                _report_busy(lock, "this run does nothing. Set [schedule] when_busy = wait to wait")
                return self.busy_status
        return _restart_later(lock, command)

    def _work(self, starts: int, work: Callable[[], None]) -> None:
        """Wait for the supervisor to hold the lock, then work; end if the supervisor ends first."""
        if sys.platform == "linux":  # elsewhere the work goes on alone after the supervisor is killed
            pr_set_pdeathsig = 1  # from linux/prctl.h: a signal at the parent's death
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if not os.read(starts, 1):
            os._exit(0)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        work()

    def _watch(self, worker: int, start: int) -> int:
        """Start the worker, wait for its end, record it, and return its exit status."""
        clock, history = time.monotonic(), self.outputs / run_history.NAME
        self._prepare_log()
        log_start, history_start = _size(self.log), _size(history)
        begun = self._begin()
        ended_as = _start_and_wait(worker, start)
        now, exit_status = _now(), 128 - ended_as if ended_as < 0 else ended_as
        runs = run_history.read_history(history, history_start)
        summary = next((run for run in runs if run["run"] == self.run), {})
        accuracy = summary.get("accuracy", {}).items()
        ended = replace(
            begun,
            state="failed" if exit_status else "ok",
            ended=now,
            last_success=begun.last_success if exit_status else now,
            seconds=round(time.monotonic() - clock, 3),
            exit_status=exit_status,
            stages=summary.get("stages", {}),
            accuracy={stage.removeprefix("Evaluate").lower(): value for stage, value in accuracy},
            message=self._message(ended_as, log_start) if exit_status else None,
        )
        self._log_line(f"Run {self.run} ended with exit status {exit_status} after {ended.seconds} s.")
        status = self._write_files(ended)
        if status.exit_status:
            self._notify(status)
        return status.exit_status or 0

    def _prepare_log(self) -> None:
        """Put the log away if it is full, and make one; raise `OSError` where that is impossible."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if _size(self.log) >= self.log_bytes:
            rotated = RotatingFileHandler(self.log, backupCount=self.log_files, delay=True)
            rotated.doRollover()
            rotated.close()
        self.log.open("ab").close()

    def _begin(self) -> RunStatus:
        status = RunStatus(
            state="running",
            run=self.run,
            process=os.getpid(),
            host=socket.gethostname(),
            log=str(self.log.resolve()),
            started=_now(),
            last_success=status_file.last_success(self.outputs),
        )
        status.write(self.outputs)
        self._log_line(f"Run {self.run} begins: process {status.process} on {status.host}.")
        return status

    def _message(self, ended_as: int, log_start: int) -> str:
        """Return the run's log from its first error on; where there is no error, its end."""
        text = ""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(log_start)
            text = log.read().decode(errors="replace")
        _, error, rest = text.partition("ERROR: ")
        shown = rest[:MESSAGE_CHARACTERS] if error else text[-MESSAGE_CHARACTERS:]
        killed = f"Killed by {signal.Signals(-ended_as).name}.\n" if ended_as < 0 else ""
        return killed + shown.strip()

    def _write_files(self, status: RunStatus) -> RunStatus:
        """Write metrics and status; the run has failed if one of them cannot be written."""
        writers: list[Callable[[RunStatus], None]] = [
            lambda status: write_text(self.metrics, status.metrics(self.outputs), StoreError),
            lambda status: status.write(self.outputs),
        ]
        for write in writers:
            try:
                write(status)
            except StoreError as error:
                self._log_line(str(error))
                status = replace(
                    status,
                    state="failed",
                    last_success=status_file.last_success(self.outputs),
                    exit_status=status.exit_status or 1,
                    message="\n".join(filter(None, [status.message, str(error)])),
                )
        return status

    def _notify(self, status: RunStatus) -> None:
        text = f"The pipeline in {Path.cwd()} on {status.host} failed with exit status {status.exit_status}."
        text += f"\n{status.message}\nThe log is {status.log}."
        facts = {"exit_status": status.exit_status, "host": status.host, "checkout": str(Path.cwd())}
        facts |= {"started": status.started, "log": status.log}
        with self.log.open("ab") as log:
            for line in self.notice.send(text, facts, log):
                self._log_line(line)
        sys.stderr.write(f"{text}\n")

    def _log_line(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not keep the supervisor from telling of a failure
            self.log.parent.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
            with self.log.open("ab", buffering=0) as log:
                log.write(f"{_now()} {line}\n".encode(errors="backslashreplace"))


def _start_and_wait(worker: int, start: int) -> int:
    """Start the worker, and return its exit status, or the negative number of the signal that killed it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on a terminal reaches the worker by itself
    signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGTERM))
    os.write(start, b"!")
    ended_as = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return ended_as


def _restart_later(lock: Lock, command: list[str]) -> NoReturn:
    with lock.held(lambda _: _report_busy(lock, "this run waits for it to end")):
        pass
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606, it is this program


def _report_busy(lock: Lock, consequence: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # the other run may end at any moment
        since = datetime.fromtimestamp(lock.path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        sys.stderr.write(f"{lock.holder() or 'another process'} has run the pipeline since {since}; {consequence}.\n")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
