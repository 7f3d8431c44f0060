"""What happens between a command line and its task, where Luigi has no place for it."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from typing import NoReturn

import luigi
from luigi.cmdline_parser import CmdlineParser

from pipeline.errors import SettingError, did_you_mean
from pipeline.progress import terminal
from tasks import configuration, console

_build_parser = CmdlineParser._build_parser
_exit_with_help = CmdlineParser._possibly_exit_with_help
_get_task = CmdlineParser.get_task_obj

MOST_SUGGESTIONS = 4


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
        message = f"there is no setting {unknown}; luigi.cfg has all.{_meant(unknown, flags)}"
    raise SettingError(message)


def _meant(unknown: str, flags: Sequence[str]) -> str:
    """Suggest the flags that an unknown one is short for, or the one that it is closest to."""
    short = unknown.lstrip("-")
    written_out = []
    for flag in flags:
        words = flag.lstrip("-").split("-")
        if _abbreviates(short, words) or _abbreviates(short, words[1:]):  # the first may be the section's name
            written_out.append(flag)
    if 0 < len(written_out) <= MOST_SUGGESTIONS:
        return f" Did you mean {' or '.join(map(repr, written_out))}?"
    return did_you_mean(unknown, flags)


def _abbreviates(short: str, words: Sequence[str]) -> bool:
    """Tell whether a text is made of the beginnings of words, such as lr, l-rate or learn of learning and rate."""
    if not (short and words):
        return not short
    beginnings = (words[0][:length] for length in range(1, len(words[0]) + 1))
    rests = (short.removeprefix(beginning) for beginning in beginnings if short.startswith(beginning))
    return any(_abbreviates(rest.removeprefix("-"), words[1:]) for rest in rests)


def _exit_without_a_task(parser: argparse.ArgumentParser, known_args: argparse.Namespace) -> None:
    """Tell which tasks there are where none is named; Luigi ends there with three words."""
    _exit_with_help(parser, known_args)
    if not known_args.root_task:
        raise SettingError(
            f"no task is named; expected one, as in `luigi --module tasks Pipeline`.\n{console.task_list()}"
        )


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
CmdlineParser._possibly_exit_with_help = staticmethod(_exit_without_a_task)  # type: ignore[method-assign]
CmdlineParser.get_task_obj = _get_task_of_sound_settings  # type: ignore[method-assign]
