"""Read the command line, and check it: misspelt flags, a missing task, all settings before the first task is made.

Written for Luigi 3.8.1. It answers a misspelt flag with the usage of all flags, accepts abbreviated flags, ignores one
with an empty value, prints a traceback for a wrong value of a flag without the task's name (``TrainCNN --epochs two``),
takes a section of luigi.cfg for a task, and reads a setting only when a task uses it. This module can go when Luigi
refuses each of these in a line, counts an empty value, and has a hook before tasks.
"""

from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register, TaskClassNotFoundException

from pipeline.errors import SettingError, did_you_mean
from pipeline.progress import terminal
from tasks.luigi_adapter.configuration import is_base_class
from tasks.luigi_adapter.errors import task_list

_build_parser = CmdlineParser._build_parser
_exit_with_help = CmdlineParser._possibly_exit_with_help
_parse_unless_empty = luigi.Parameter._parse_or_no_value

MOST_SUGGESTIONS = 4
"""If an abbreviation fits more flags, only the closest is suggested."""

checks: list[Callable[[], None]] = []
"""Functions to call before the task of a command line is made; each raises `SettingError` for a wrong setting."""


def root_task() -> str | None:
    """Return the task that the command line asks for, or None without a command line, as in a notebook."""
    parser = CmdlineParser.get_instance()
    return parser.known_args.root_task if parser else None


def given(section: str, name: str) -> Any:
    """Return the text of a setting on the command line, or None."""
    parser = CmdlineParser.get_instance()
    return getattr(parser.known_args, f"{section}_{name}", None) if parser else None


def _build_terse_parser(root_task: str | None = None, help_all: bool = False) -> argparse.ArgumentParser:
    """Build Luigi's parser, with errors of one line, and one attribute for both flags of a task's setting."""
    return _parser(root_task, help_all, frozenset(Register._reg))


@functools.cache  # Luigi asks for nine in a run, three of which differ; each takes 2 ms to build
def _parser(root_task: str | None, help_all: bool, _tasks: frozenset[Register]) -> argparse.ArgumentParser:
    task = Register.get_task_cls(root_task) if root_task else luigi.Task
    if issubclass(task, luigi.Config) or (root_task and is_base_class(root_task)):
        raise TaskClassNotFoundException(f"No task {root_task}. ")
    parser: argparse.ArgumentParser = _build_parser(root_task, help_all)
    parser.error = functools.partial(_refuse, parser)  # type: ignore[method-assign]
    parser.allow_abbrev = False  # Luigi would accept --see for --seed
    own = dict(task.get_params())
    for action in parser._actions:
        if action.dest in own:
            action.dest = f"{root_task}_{action.dest}"  # `TrainCNN --epochs 3` means `TrainCNN --TrainCNN-epochs 3`
    return parser


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    unknown = message.removeprefix("unrecognized arguments: ").partition(" ")[0].partition("=")[0]
    if message.startswith("unrecognized") and unknown.startswith("-"):
        actions = [action for action in parser._actions if not is_base_class(action.dest.partition("_")[0])]
        flags = [flag for action in actions for flag in action.option_strings]
        message = f"there is no setting {unknown}; luigi.cfg has all.{_meant(unknown, flags)}"
    raise SettingError(message)


def _meant(unknown: str, flags: Sequence[str]) -> str:
    """Suggest the flags that an unknown one abbreviates, or the closest one."""
    jump = "[^-]*-"  # to the next word: an abbreviation joins beginnings of words, as lr, l-rate and learn do
    parts = [f"(?:{jump})?".join(map(re.escape, part)) for part in unknown.strip("-").split("-")]
    written_out = re.compile(f"--(?:{jump})?{jump.join(parts)}")  # the first word may be the section's name
    found = [flag for flag in flags if written_out.match(flag)]
    if 0 < len(found) <= MOST_SUGGESTIONS:
        return f" Did you mean {' or '.join(map(repr, found))}?"
    return did_you_mean(unknown, flags)


def _exit_without_a_task(parser: argparse.ArgumentParser, known_args: argparse.Namespace) -> None:
    """Refuse a command line without a task, and list the tasks."""
    _exit_with_help(parser, known_args)
    if not known_args.root_task:
        raise SettingError(f"no task is named; expected one, as in `luigi --module tasks Pipeline`.\n{task_list()}")


def _check_then_get_task(parser: CmdlineParser) -> luigi.Task:
    """Make the task that is asked for, once all settings are known to be right."""
    terminal.prepare_console()
    for check in checks:
        check()
    task: luigi.Task = Register.get_task_cls(parser.known_args.root_task)()
    return task


def _parse_even_if_empty(parameter: luigi.Parameter[Any], value: Any) -> Any:
    """Parse the value of a flag: an empty text counts, too, as ``--store-remote=`` in place of a remote in a file."""
    return parameter.parse(value) if value == "" else _parse_unless_empty(parameter, value)


luigi.Parameter._parse_or_no_value = _parse_even_if_empty  # type: ignore[method-assign]
CmdlineParser._build_parser = staticmethod(_build_terse_parser)  # type: ignore[method-assign]
CmdlineParser._possibly_exit_with_help = staticmethod(_exit_without_a_task)  # type: ignore[method-assign]
CmdlineParser.get_task_obj = _check_then_get_task  # type: ignore[method-assign]
