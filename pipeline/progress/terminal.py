"""Print in colour on a terminal, and keep running when stdout closes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipeline.progress.live_lines import LiveLines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DIM, RED, GREEN, YELLOW, CYAN = 2, 31, 32, 33, 36
"""Parameters of the control sequence "select graphic rendition" (ECMA-48)."""

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
"""The states of stages and runs in tables and messages, with their colours."""

_ANY = "|".join(STATES)
_IN_TABLE = re.compile(rf"^(?:{_ANY})(?= |$)")
_IN_MESSAGE = re.compile(rf"(?:(?<=: )|(?<=\d )|(?<=^  ))(?:{_ANY})(?=[,:]|$)", re.MULTILINE)
"""A state in a message: behind the name of its stage, behind a number, or before a list of stages."""


def highlighted(text: str) -> str:
    """Return messages for stdout, with each state in its colour if stdout is a terminal.

    If ``NO_COLOR`` is set (https://no-color.org), there is no colour.
    """
    return _IN_MESSAGE.sub(_coloured, text) if _has_colour() else text


def highlighted_table(lines: Sequence[str], column: str) -> str:
    """Return a table for stdout, with the states in the column of a header in colour, as `highlighted` does."""
    if not _has_colour():
        return "\n".join(lines)
    start = lines[0].index(column)
    return "\n".join(line[:start] + _IN_TABLE.sub(_coloured, line[start:]) for line in lines)


def _has_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(found: re.Match[str]) -> str:
    return f"\x1b[{STATES[found[0]]}m{found[0]}\x1b[0m"


def prepare_console() -> None:
    """Keep running when stdout or stderr closes, its reader ends (as ``head`` does) or its disk is full.

    Output that a stream cannot take is dropped. Characters that its encoding lacks are written as escapes. On a
    terminal, this process and those forked from it have a live line each, unless stdout is a pipe: its reader may print
    on the terminal too, as ``tee`` does.
    """
    sys.stdout, sys.stderr = _lenient(sys.stdout), _lenient(sys.stderr)
    LiveLines.active = None
    is_able = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and sys.stderr.encoding.lower() == "utf-8"
    with contextlib.suppress(OSError):  # no disk to keep a lock on, or a stdout that is no file
        if is_able and not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
            LiveLines.active = LiveLines(sys.stderr.fileno())


def print_answer(text: str) -> None:
    """Print the answer of a command to stdout; a reader that ends early, as ``head`` does, is no error.

    Raise `OSError` if stdout cannot be written, for example because the disk is full.
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
    """A file that drops the output that it cannot write."""

    def write(self, content: ReadableBuffer) -> int:
        lines = LiveLines.active
        with contextlib.suppress(OSError), lines.hidden() if lines and self.isatty() else contextlib.nullcontext():
            if written := super().write(content):
                return written
        return memoryview(content).nbytes


def _lenient(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed when Python started
        return Path(os.devnull).open("w", encoding="utf-8")
    buffer = getattr(stream, "buffer", None)
    # With PYTHONUNBUFFERED the buffer is the file itself. A test or a notebook may have replaced the stream.
    if not (isinstance(stream, io.TextIOWrapper) and isinstance(getattr(buffer, "raw", buffer), io.FileIO)):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_LenientFile(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )
