"""The console: in colour where that is a terminal, and not needed: work goes on when nobody reads what it prints."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipeline.progress.live_lines import LiveLines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DIM, RED, GREEN, YELLOW, CYAN = 2, 31, 32, 33, 36
"""Numbers of ANSI's "select graphic rendition" (ECMA-48)."""

STATES = {
    "adopted": CYAN,
    "cached": DIM,
    "computed": GREEN,
    "failed": RED,
    "killed": RED,
    "not made": RED,
    "ok": GREEN,
    "reused": DIM,
    "running": CYAN,
    "to run": YELLOW,
}
"""What becomes of a stage or a run, in the words that tables and messages have for it."""

_ANY = "|".join(STATES)
_IN_TABLE = re.compile(rf"(?:{_ANY})(?= |$)")
_IN_MESSAGE = re.compile(rf"(?:(?<=: )|(?<=\d )|(?<=^  ))(?:{_ANY})(?=[,:]|$)", re.MULTILINE)
"""A state where messages have one: after what it is the state of, after a number, or before a list of stages."""


def highlighted(text: str) -> str:
    """Return messages for the standard output, with each state in its colour where that is a terminal.

    There is none where ``NO_COLOR`` is set (https://no-color.org).
    """
    return _IN_MESSAGE.sub(_coloured, text) if _has_colour() else text


def highlighted_table(lines: Sequence[str], column: str) -> str:
    """Return a table for the standard output, likewise, with the states in the column of this header in colour."""
    if not _has_colour():
        return "\n".join(lines)
    start = lines[0].index(column)
    states = ((line, _IN_TABLE.match(line, start)) for line in lines)
    return "\n".join(line[:start] + _coloured(state) + line[state.end() :] if state else line for line, state in states)


def _has_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(found: re.Match[str]) -> str:
    return f"\x1b[{STATES[found[0]]}m{found[0]}\x1b[0m"


def share() -> None:
    """Have processes that are forked from now on share the console: a terminal shows a line for each of them."""
    is_able = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and sys.stderr.encoding.lower() == "utf-8"
    with contextlib.suppress(OSError):  # no disk to keep a lock on
        LiveLines.active = LiveLines(sys.stderr.fileno()) if is_able else None


def outlast() -> None:
    """Have work outlast its console: what the standard streams cannot take from now on is dropped.

    That is all of it where they are closed, where whoever read them has ended, as ``head`` does, or where a disk is
    full; and characters that their encoding lacks are written as escapes.
    """
    sys.stdout, sys.stderr = _lenient(sys.stdout), _lenient(sys.stderr)


def deliver(text: str) -> None:
    """Print what a command is there to tell; that nobody reads on, as after ``head``, is no error.

    Raises
    ------
    OSError
        Standard output cannot be written, such as where a disk is full.
    """
    sys.stdout.flush()
    try:
        with os.fdopen(
            sys.stdout.fileno(), "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False
        ) as strict:
            strict.write(f"{text}\n")
    except BrokenPipeError:
        pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


class _LenientFile(io.FileIO):
    """A file that takes whatever is written to it."""

    def write(self, content: ReadableBuffer) -> int:
        lines = LiveLines.active
        with contextlib.suppress(OSError), lines.hidden() if lines and self.isatty() else contextlib.nullcontext():
            if written := super().write(content):
                return written
        return memoryview(content).nbytes


def _lenient(stream: TextIO | None) -> TextIO:
    if stream is None:  # its descriptor was closed when Python started
        return Path(os.devnull).open("w", encoding="utf-8")
    if not (isinstance(stream, io.TextIOWrapper) and _is_of_a_file(stream)):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_LenientFile(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def _is_of_a_file(stream: io.TextIOWrapper) -> bool:
    """Tell whether a stream is one that Python opens at its start, not what a test or a notebook has put there."""
    return isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO)
