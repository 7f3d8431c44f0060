"""``python -m tasks.scheduled``: the pipeline as a timer runs it: alone, into a log, leaving a status behind.

Two processes: one does the work, which Luigi may end at any point of it, and the other sees to it that
whatever happens is told. They are forked after all is imported, so that a run costs what it costs by hand.
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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any

from luigi.cmdline import luigi_run
from luigi.cmdline_parser import CmdlineParser
from luigi.retcodes import retcode

from pipeline.errors import PipelineError, StoreError
from pipeline.files.locks import Lock
from pipeline.files.whole_file import write_text
from pipeline.operations import run_history, status_file
from pipeline.operations.notices import Notice
from pipeline.operations.status_file import RunStatus
from tasks.run import RUN
from tasks.settings import schedule, settings

LOCK_NAME = ".scheduled.lock"
LOG_NAME = "scheduled.log"
MESSAGE_CHARACTERS = 4000
"""Most that is told of a failure; the log has all."""
PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def main(flags: Sequence[str]) -> int:
    """Run the pipeline with flags as ``luigi --module tasks Pipeline`` takes them, and return the exit status."""
    with CmdlineParser.global_instance(["Pipeline", *flags], allow_override=True):
        how, outputs, busy = schedule(), settings.active().outputs, int(retcode().already_running)
    outputs.mkdir(parents=True, exist_ok=True)
    starts, start = os.pipe()
    gc.freeze()  # or else collecting garbage has each process copy what both have
    worker = os.fork()
    if worker == 0:
        os.close(start)
        _work(starts, outputs / "logs" / LOG_NAME, flags)
        return 0
    os.close(starts)
    with _turn(Lock(outputs / LOCK_NAME), how, flags) as is_mine:
        if is_mine:
            return _Watch(how, outputs).over(worker, start)
    return busy


def _work(starts: int, log: Path, flags: Sequence[str]) -> None:
    """Be Luigi, once told to start, and for as long as there is somebody to watch."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if not os.read(starts, 1):
        os._exit(0)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    arguments = ["--module", "tasks", "Pipeline", *flags]
    RUN.compares_settings = False  # its settings are those that it was scheduled with
    RUN.continue_here(arguments)
    luigi_run([*arguments, "--local-scheduler"])


@contextlib.contextmanager
def _turn(lock: Lock, how: schedule, flags: Sequence[str]) -> Iterator[bool]:
    """Hold the lock, or tell who does; it dies with this process.

    A run that has waited starts anew: code and settings may have been edited since it was loaded.
    """

    def tell(what: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # it may end at any moment
            since = datetime.fromtimestamp(lock.path.stat().st_mtime, UTC).isoformat(timespec="seconds")
            sys.stderr.write(f"{lock.holder() or 'another process'} has run the pipeline since {since}; {what}.\n")

    with lock.tried() as is_free:
        if is_free or how.when_busy == "refuse":
            if not is_free:
                tell("this run does nothing. [schedule] when_busy = wait would have it wait")
            yield is_free
            return
    with lock.held(lambda _: tell("this run waits for it to end")):
        pass
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tasks.scheduled", *flags])  # noqa: S606, no shell has a say in it


class _Watch:
    """Sees to it that the end of a run is told, whatever it is."""

    def __init__(self, how: schedule, outputs: Path) -> None:
        self._how = how
        self._outputs = outputs
        self._clock = time.monotonic()
        self._log_path = outputs / "logs" / LOG_NAME

    def over(self, worker: int, start: int) -> int:
        """Let the worker start, wait for its end, tell of it, and return its exit status."""
        with _open_log(self._log_path, self._how) as log:
            self._log = log
            log_start, history_start = log.tell(), _size(self._outputs / run_history.NAME)
            status = self._begin()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on a terminal reaches the worker by itself
            signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGTERM))
            os.write(start, b"!")
            ended_as = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            summary = _summary(self._outputs / run_history.NAME, history_start)
            status = self._left(self._ended(status, ended_as, summary, log_start))
            if status.exit_status:
                self._tell_failure(status)
            return status.exit_status or 0

    def _begin(self) -> RunStatus:
        now = _now()
        status = RunStatus(
            state="running",
            run=RUN.id,
            process=os.getpid(),
            host=socket.gethostname(),
            log=str(self._log_path.resolve()),
            started=now,
            last_success=status_file.last_success(self._outputs),
        )
        status.write(self._outputs)
        self._say(f"Run {status.run} begins: process {status.process} on {status.host}.")
        return status

    def _ended(self, status: RunStatus, ended_as: int, summary: dict[str, Any], log_start: int) -> RunStatus:
        now, exit_status = _now(), 128 - ended_as if ended_as < 0 else ended_as
        ended = replace(
            status,
            state="failed" if exit_status else "ok",
            ended=now,
            last_success=status.last_success if exit_status else now,
            seconds=round(time.monotonic() - self._clock, 3),
            exit_status=exit_status,
            stages=summary.get("stages", {}),
            accuracy={_network(stage): value for stage, value in summary.get("accuracy", {}).items()},
            message=self._message(ended_as, log_start) if exit_status else None,
        )
        self._say(f"Run {status.run} ended with exit status {exit_status} after {ended.seconds} s.")
        return ended

    def _left(self, status: RunStatus) -> RunStatus:
        """Leave the figures and the status behind; a run of which one cannot be written has failed."""
        metrics_path = Path(self._how.metrics_file or self._outputs / status_file.METRICS_NAME)
        try:
            write_text(metrics_path, status.metrics(self._outputs), StoreError)
        except PipelineError as error:
            status = self._failed(status, error)
        try:
            status.write(self._outputs)
        except PipelineError as error:
            status = self._failed(status, error)
        return status

    def _failed(self, status: RunStatus, error: PipelineError) -> RunStatus:
        self._say(str(error))
        return replace(
            status,
            state="failed",
            last_success=status_file.last_success(self._outputs),
            exit_status=status.exit_status or 1,
            message="\n".join(filter(None, [status.message, str(error)])),
        )

    def _message(self, ended_as: int, log_start: int) -> str:
        """Return what the log has of this run from its first error on, or else its end."""
        with self._log_path.open("rb") as log:
            log.seek(log_start)
            text = log.read().decode(errors="replace")
        _, error, rest = text.partition("ERROR: ")
        told = rest[:MESSAGE_CHARACTERS] if error else text[-MESSAGE_CHARACTERS:]
        killed = f"Killed by {signal.Signals(-ended_as).name}.\n" if ended_as < 0 else ""
        return killed + told.strip()

    def _tell_failure(self, status: RunStatus) -> None:
        text = f"The pipeline in {Path.cwd()} on {status.host} failed with exit status {status.exit_status}."
        text += f"\n{status.message}\nThe log is {status.log}."
        facts = {"exit_status": status.exit_status, "host": status.host, "checkout": str(Path.cwd())}
        facts |= {"started": status.started, "log": status.log}
        notice = Notice(self._how.on_failure_command, self._how.on_failure_webhook, self._how.notice_seconds)
        notice.give(text, facts, self._log, self._say)
        sys.stderr.write(f"{text}\n")

    def _say(self, line: str) -> None:
        self._log.write(f"{_now()} {line}\n".encode(errors="backslashreplace"))


@contextlib.contextmanager
def _open_log(path: Path, how: schedule) -> Iterator[IO[bytes]]:
    """Open the log at its end; one that is full goes into the row of the old ones first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if _size(path) >= how.log_bytes:
        rotated = RotatingFileHandler(path, backupCount=how.log_files, delay=True)
        rotated.doRollover()
        rotated.close()
    with path.open("ab", buffering=0) as log:
        yield log


def _summary(path: Path, start: int) -> dict[str, Any]:
    """Return what this run left in the history."""
    runs = run_history.read_history(path, start)
    return next((run for run in runs if run["run"] == RUN.id), {})


def _network(stage: str) -> str:
    return stage.removeprefix("Evaluate").lower()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
