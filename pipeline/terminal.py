"""The console: in colour where that is a terminal, and not needed: work goes on when nobody reads what it prints."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

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
    "reused": DIM,
    "running": CYAN,
    "to run": YELLOW,
}
"""What becomes of a stage or a run, in the words that tables and messages have for it."""

_STATE = re.compile(rf"\b({'|'.join(STATES)})\b")


def highlighted(text: str) -> str:
    """Return lines for the standard output, with each state in its colour where that is a terminal.

    There is none where ``NO_COLOR`` is set (https://no-color.org).
    """
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return _STATE.sub(lambda found: f"\x1b[{STATES[found[0]]}m{found[0]}\x1b[0m", text)


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
        with contextlib.suppress(OSError):
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
