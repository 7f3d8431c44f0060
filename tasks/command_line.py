"""Flags on the command line that are misspelt: Luigi answers them with the usage of all that there are."""

from __future__ import annotations

import argparse
import functools
from typing import NoReturn

from luigi.cmdline_parser import CmdlineParser

from pipeline.errors import did_you_mean

_build_parser = CmdlineParser._build_parser


def _build_terse_parser(root_task: str | None = None, help_all: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _build_parser(root_task, help_all)
    parser.error = functools.partial(_refuse, parser)  # type: ignore[method-assign]
    return parser


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    unknown = message.removeprefix("unrecognized arguments: ").partition(" ")[0].partition("=")[0]
    if message.startswith("unrecognized") and unknown.startswith("-"):
        flags = [flag for action in parser._actions for flag in action.option_strings]
        message = f"there is no setting {unknown}; luigi.cfg has all.{did_you_mean(unknown, flags)}"
    parser.exit(2, f"{message}\n")


CmdlineParser._build_parser = staticmethod(_build_terse_parser)  # type: ignore[method-assign]
