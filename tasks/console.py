"""What a task shows, on the console and on Luigi's page."""

from __future__ import annotations

import configparser
import contextlib
import errno
import logging
import os
import re
import resource
import signal
import stat
import sys
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import luigi
from luigi.parameter import MissingParameterException, UnconsumedParameterWarning
from luigi.rpc import RPCError
from luigi.task_register import Register, TaskClassNotFoundException

from pipeline.errors import NO_SPACE, DeclarationError, DeviceError, PipelineError, SettingError, did_you_mean
from pipeline.progress import terminal
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.shared_notes import SharedNotes
from tasks import configuration, signals
from tasks.defaults import status_of_wrong_settings

SECONDS_BETWEEN_UPDATES = 1.0

AGAIN = "Run the same command again: what is finished is kept."

OF_SETTINGS = (
    SettingError,
    DeclarationError,
    DeviceError,
    configparser.Error,
    MissingParameterException,
    TaskClassNotFoundException,
    ValueError,
)
"""Errors that are the settings', not the machine's."""

EXPECTED = {
    luigi.IntParameter: "a whole number",
    luigi.FloatParameter: "a number",
    luigi.BoolParameter: "true or false",
}
"""What the kinds of parameters take."""


class TaskMonitor(ConsoleMonitor):
    """Shows the progress of one task."""

    def __init__(self, task: luigi.Task, name: str, place: str = "") -> None:
        super().__init__(name, place, alone=luigi.interface.core().workers == 1)
        self._task = task
        self._next_update = time.monotonic()

    def say(self, line: str) -> None:
        signals.check()
        super().say(line)
        if self._task.set_status_message is not None:
            self._task.set_status_message(line)

    def progress(self, done: float, total: float, unit: str) -> None:
        signals.check()
        super().progress(done, total, unit)
        if time.monotonic() >= self._next_update and self._task.set_progress_percentage is not None and total:
            self._next_update = time.monotonic() + SECONDS_BETWEEN_UPDATES
            self._task.set_progress_percentage(100 * done / total)


def foreseen(error: BaseException | None) -> str | None:
    """Return all that there is to say of an error that needs no traceback; None where it does."""
    if isinstance(error, (PipelineError, configparser.Error)):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}. {_advice(error)}"
    return None if error is None else _foreseen_of_luigi(error)


def removed(stage: str, path: Path | str) -> str:
    """Say that a result that was there is there no more."""
    return f"the result of {stage}, {path}, was removed or damaged while the run was under way. {AGAIN}"


def task_list() -> str:
    """List the tasks that can be named, each with what it does."""
    return "\n".join(["The tasks are:", *(f"  {name:14} {summary}" for name, summary in _tasks().items())])


def end(error: BaseException) -> NoReturn:
    """End the program with what there is to say of an error that is foreseen."""
    sys.stderr.write(f"{foreseen(error) or error}\n")
    sys.exit(status_of_wrong_settings() if isinstance(error, OF_SETTINGS) else 1)


def _foreseen_of_luigi(error: BaseException) -> str | None:
    if isinstance(error, ValueError) and (wrong := re.match(r"(\w+)\[.*Error when parsing .* '(\w+)'$", str(error))):
        return _not_understood(wrong[1], wrong[2], error.__cause__)
    if isinstance(error, MissingParameterException) and (wrong := re.match(r"(\w+)\[.*the '(\w+)' ", str(error))):
        section, name = wrong.groups()
        return f"{section}.{name} is not given. {_parameter(section, name).description}"
    if isinstance(error, TaskClassNotFoundException) and (wrong := re.match(r"No task (.+?)\. ", str(error))):
        return f"there is no task {wrong[1]!r}.{did_you_mean(wrong[1], _tasks())}\n{task_list()}"
    if isinstance(error, RPCError):
        return f"{error}. {AGAIN}"
    if isinstance(error, RuntimeError) and (gone := re.match(r"Unfulfilled .* time: (\w+?)_.* \((.*)\)$", str(error))):
        return removed(gone[1], gone[2])
    return None


def _tasks() -> dict[str, str]:
    """Return the first line of each task's docstring by its name; what tasks have in common is called ``...Task``."""
    names = [name for name in sorted(Register.task_names()) if name[0].isupper() and configuration.is_ours(name)]
    others = [name for name in names if name.endswith("Task") or name in configuration.MADE_BY_OTHERS]
    found = {name: Register.get_task_cls(name) for name in names if name not in others}
    return {name: task.__doc__.partition("\n")[0] for name, task in found.items()}


def _advice(error: OSError) -> str:
    if error.errno in NO_SPACE:
        return f"Make room, for example with `make gc`. {AGAIN}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        if shut := _shut(Path(error.filename)):
            return _advice_to_open(shut)
        return "Make it writable for yourself, or name other folders: --outputs-dir, --data-dir."
    if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
        return (
            "Runs know of each other by locks, which this file system does not have. "
            "Name folders on another one: --outputs-dir, --data-dir."
        )
    return "Check the path, who owns it, and the disk."


def _shut(path: Path) -> Path | None:
    """Return what keeps this process from reading a file: the file itself, or a folder on the way to it."""
    path = path.absolute()
    for place in (*reversed(path.parents), path):
        if not os.access(place, os.R_OK if place == path else os.X_OK):
            return place if os.path.lexists(place) else None
    return None


def _advice_to_open(shut: Path) -> str:
    status = shut.stat()
    try:
        owner = shut.owner()
    except KeyError:  # nobody here has this number
        owner = str(status.st_uid)
    return (
        f"You may not read {shut} ({stat.filemode(status.st_mode)}, of {owner}). Type "
        f"`chmod +{'rx' if shut.is_dir() else 'r'} {shut}`, or name another archive, ARCHIVE=path, or other folders, "
        "--outputs-dir, --data-dir."
    )


def _not_understood(section: str, name: str, cause: BaseException | None) -> str:
    parameter = _parameter(section, name)
    value, choices = re.search(r"'(.*)'", str(cause)), getattr(parameter, "_choices", ())
    expected = next((text for kind, text in EXPECTED.items() if isinstance(parameter, kind)), None)
    if choices:
        return f"{section}.{name} is {str(cause).partition(' ')[0]!r}; expected {' or '.join(sorted(choices))}."
    if isinstance(cause, configparser.Error) or not (expected and value):
        return f"{section}.{name} cannot be understood: {cause}. luigi.cfg says what it takes."
    return f"{section}.{name} is {value[1]!r}; expected {expected}. {parameter.description or ''}".rstrip()


def _parameter(section: str, name: str) -> luigi.Parameter[Any]:
    parameters: dict[str, luigi.Parameter[Any]] = dict(Register.get_task_cls(section).get_params())
    return parameters[name]


@luigi.Task.event_handler(luigi.Event.PROCESS_FAILURE)  # type: ignore[untyped-decorator]
def _tell_of_death(task: luigi.Task, message: str) -> None:
    """Say that the process of a task has died: of itself Luigi does so only where it logs everything."""
    name = getattr(task, "stage_name", task.task_family)
    code = int(message.rpartition(" ")[2])
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    if code == -signal.SIGKILL:
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        how += (
            f", perhaps by the system for want of memory (the largest process of this run had {most / 1e6:,.0f} MB). "
            "If so, end other programs, or take --workers 1"
        )
    logging.getLogger("luigi-interface").error(
        f"{name}: its process {how}. What is finished is kept, trainings to their last epoch: the same command goes "
        "on from there."
    )


class _ForeseenWithoutTraceback(logging.Filter):
    """Reduces an error that is foreseen to its message, once in a run: where it was raised helps nobody."""

    told: SharedNotes | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            record.exc_info = None  # Luigi asks for the traceback of errors that it has dealt with, too
        elif (message := foreseen(error)) is not None:
            record.exc_info = None
            record.msg, record.args = message, ()
            return self._is_new(message)
        return True

    def _is_new(self, message: str) -> bool:
        if self.told is None:
            return True
        with self.told.held() as told:
            is_new = message not in told
            told[message] = ""
        return is_new


_FORESEEN = _ForeseenWithoutTraceback()


def begin(workers: int) -> None:
    """Prepare the console for a run, before its stages are given to so many processes."""
    with contextlib.suppress(OSError):  # no disk to keep a lock on
        _FORESEEN.told = SharedNotes()
    if workers > 1:
        terminal.share()


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if foreseen(error) is not None:
        end(error)
    signals.tell(kind, error, trace)


warnings.simplefilter("ignore", UnconsumedParameterWarning)  # `configuration.check` says it, as an error
logging.getLogger("luigi-interface").addFilter(_FORESEEN)
sys.excepthook = _tell
