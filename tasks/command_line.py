"""What happens between a command line and its task, where Luigi has no place for it."""

from __future__ import annotations

import argparse
import functools
from typing import NoReturn

import luigi
from luigi.cmdline_parser import CmdlineParser

from pipeline import terminal
from pipeline.errors import SettingError, did_you_mean
from tasks import configuration

_build_parser = CmdlineParser._build_parser
_get_task = CmdlineParser.get_task_obj


def _build_terse_parser(root_task: str | None = None, help_all: bool = False) -> argparse.ArgumentParser:
    """Answer a misspelt flag with a line; Luigi does so with the usage of all that there are."""
    parser: argparse.ArgumentParser = _build_parser(root_task, help_all)
    parser.error = functools.partial(_refuse, parser)  # type: ignore[method-assign]
    parser.allow_abbrev = False  # or some misspelt flags would be taken for the beginning of others
    return parser


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    unknown = message.removeprefix("unrecognized arguments: ").partition(" ")[0].partition("=")[0]
    if message.startswith("unrecognized") and unknown.startswith("-"):
        flags = [flag for action in parser._actions for flag in action.option_strings]
        message = f"there is no setting {unknown}; luigi.cfg has all.{did_you_mean(unknown, flags)}"
    raise SettingError(message)


def _get_task_of_sound_settings(parser: CmdlineParser) -> luigi.Task:
    """Make the task that a run is about, once all else is known to be right."""
    terminal.outlast()
    configuration.require()
    _check_all()
    task: luigi.Task = _get_task(parser)
    return task


def _check_all() -> None:
    from tasks import validation  # which knows every section, while these are still being declared

    validation.check()


CmdlineParser._build_parser = staticmethod(_build_terse_parser)  # type: ignore[method-assign]
CmdlineParser.get_task_obj = _get_task_of_sound_settings  # type: ignore[method-assign]
