"""Read the user's own Theano flags, by Theano's rules, and pick out those that can change a result."""

from __future__ import annotations

import configparser
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import SettingError

FLOAT_TYPES = ("float32", "float64")
"""Types in which Theano computes, values of ``floatX``."""

NOT_DECISIVE = (
    "allow_gc",
    "base_compiledir",
    "check_stack_trace",
    "cmodule.",
    "compile.",
    "compiledir",
    "device",
    "exception_verbosity",
    "floatX",
    "nocleanup",
    "on_unused_input",
    "optimizer_verbose",
    "print_",
    "profile",
    "profiling.",
    "scan.allow_gc",
    "traceback.",
    "warn",
)
"""Beginnings of the names of flags that the engine sets itself, or that change no result: they concern Theano's files,
its output and the time when it frees memory."""


def given_flags() -> dict[str, str]:
    """Return the flags in ``.theanorc`` (or the files that ``THEANORC`` names), overridden by ``THEANO_FLAGS``.

    Raise `SettingError` if a file or the variable cannot be parsed.
    """
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign] # floatX has an upper-case letter
    files = os.environ.get("THEANORC", "~/.theanorc").split(os.pathsep)
    splitter = shlex.shlex(os.environ.get("THEANO_FLAGS", ""), posix=True)
    splitter.whitespace, splitter.whitespace_split = ",", True
    try:
        parser.read([Path(file).expanduser() for file in files])
        in_variable = [flag.strip().partition("=") for flag in splitter]
    except (configparser.Error, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingError(
            f"Theano's flags cannot be parsed: {reason}. Correct {' and '.join(files)}, or THEANO_FLAGS."
        ) from None
    in_files = {
        option if section == "global" else f"{section}.{option}": value
        for section in parser.sections()
        for option, value in parser.items(section)
    }
    return in_files | {name: value for name, equals, value in in_variable if equals}


def decisive_flags() -> dict[str, str]:
    """Return the user's flags, except those that are known to change no result; raise as `given_flags`."""
    return {name: value for name, value in sorted(given_flags().items()) if not name.startswith(NOT_DECISIVE)}


def flags_note(measured: Mapping[str, Any]) -> list[str]:
    """Return a note on the flags with which Theano computed a result, from its measurements; none where it did not."""
    flags = measured.get("theano_flags", {})
    return [f"Theano flags {', '.join(f'{name}={value}' for name, value in flags.items())}"] if flags else []
