"""Messages and exit statuses of expected errors, in place of Luigi's tracebacks.

Written for Luigi 3.8.1, which prints a traceback for a wrong setting, a misspelt task and a full disk. This module can
go when Luigi prints the message alone.
"""

from __future__ import annotations

import configparser
import errno
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any, NoReturn

import luigi
from luigi.parameter import MissingParameterException
from luigi.rpc import RPCError
from luigi.task_register import Register, TaskClassNotFoundException

from pipeline.errors import NO_SPACE, DeclarationError, DeviceError, PipelineError, SettingError, did_you_mean
from tasks.luigi_adapter.configuration import exit_status_of_settings, is_base_class, is_ours

AGAIN = "Run the same command again: finished results are kept."

ERRORS_OF_SETTINGS = (
    SettingError,
    DeclarationError,
    DeviceError,
    configparser.Error,
    MissingParameterException,
    TaskClassNotFoundException,
    ValueError,
)
"""Errors whose cause is a setting; all others come from data, disks and machines."""

EXPECTED = {
    luigi.IntParameter: "a whole number",
    luigi.FloatParameter: "a number",
    luigi.BoolParameter: "true or false",
}
"""Values that each kind of parameter accepts."""


def message_of(error: BaseException | None) -> str | None:
    """Return the message of an expected error, which needs no traceback; None for any other error."""
    if isinstance(error, (PipelineError, configparser.Error)):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}. {_advice(error)}"
    return None if error is None else _message_of_luigi(error)


def task_list() -> str:
    """Return a line for each task that can be run, with its purpose."""
    return "\n".join(["The tasks are:", *(f"  {name:14} {summary}" for name, summary in tasks_by_name().items())])


def end(error: BaseException) -> NoReturn:
    """End the program with the message of an expected error."""
    sys.stderr.write(f"{message_of(error) or error}\n")
    sys.exit(exit_status_of_settings() if isinstance(error, ERRORS_OF_SETTINGS) else 1)


def _message_of_luigi(error: BaseException) -> str | None:
    if isinstance(error, ValueError) and (wrong := re.match(r"(\w+)\[.*Error when parsing .* '(\w+)'$", str(error))):
        return _unparsable(wrong[1], wrong[2], error.__cause__)
    if isinstance(error, MissingParameterException) and (wrong := re.match(r"(\w+)\[.*the '(\w+)' ", str(error))):
        section, name = wrong.groups()
        return f"{section}.{name} is not given. {_parameter(section, name).description}"
    if isinstance(error, TaskClassNotFoundException) and (wrong := re.match(r"No task (.+?)\. ", str(error))):
        return f"there is no task {wrong[1]!r}.{did_you_mean(wrong[1], tasks_by_name())}\n{task_list()}"
    if isinstance(error, RPCError):
        return f"{error}. {AGAIN}"
    return None


def tasks_by_name() -> dict[str, str]:
    """Return the first line of the docstring of each task that can be run, by its name."""
    names = (name for name in sorted(Register.task_names()) if name[0].isupper() and is_ours(name))
    found = {name: Register.get_task_cls(name) for name in names if not is_base_class(name)}
    return {name: task.__doc__.partition("\n")[0] for name, task in found.items()}


def _advice(error: OSError) -> str:
    if error.errno in NO_SPACE:
        return f"Make room, for example with `make gc`. {AGAIN}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _advice_on_permissions(Path(error.filename).absolute())
    if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
        return "Runs use locks, and this file system has none. Name folders on another one: --outputs-dir, --data-dir."
    return "Check the path, who owns it, and the disk."


def _advice_on_permissions(path: Path) -> str:
    """Name the path that this process may not read: the file itself, or the first folder above it that is shut."""
    places = (*reversed(path.parents), path)
    shut = next((place for place in places if not os.access(place, os.R_OK if place == path else os.X_OK)), None)
    if shut is None or not os.path.lexists(shut):
        return "Make it writable for yourself, or name other folders: --outputs-dir, --data-dir."
    status = shut.stat()
    try:
        owner = shut.owner()
    except KeyError:  # no user has this number
        owner = str(status.st_uid)
    return (
        f"You may not read {shut} ({stat.filemode(status.st_mode)}, of {owner}). Type "
        f"`chmod +{'rx' if shut.is_dir() else 'r'} {shut}`, or name another archive, ARCHIVE=path, or other folders, "
        "--outputs-dir, --data-dir."
    )


def _unparsable(section: str, name: str, cause: BaseException | None) -> str:
    parameter = _parameter(section, name)
    value, choices = re.search(r"'(.*)'", str(cause)), getattr(parameter, "_choices", ())
    expected = next((text for kind, text in EXPECTED.items() if isinstance(parameter, kind)), None)
    if choices:
        return f"{section}.{name} is {str(cause).partition(' ')[0]!r}; expected {' or '.join(sorted(choices))}."
    if isinstance(cause, configparser.Error) or not (expected and value):
        return f"{section}.{name} cannot be parsed: {cause}. luigi.cfg explains it."
    return f"{section}.{name} is {value[1]!r}; expected {expected}. {parameter.description or ''}".rstrip()


def _parameter(section: str, name: str) -> luigi.Parameter[Any]:
    parameters: dict[str, luigi.Parameter[Any]] = dict(Register.get_task_cls(section).get_params())
    return parameters[name]
