"""A line of progress for each process, at the bottom of their terminal, below everything that they print."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import ClassVar

from pipeline.progress.shared_notes import SharedNotes

ERASE = "\r\x1b[J"
"""From the beginning of the line to the end of the screen (ECMA-48)."""


class LiveLines:
    """Lines that this process and those forked from it update.

    The cursor rests at the beginning of the first line, so that any process can erase all lines.
    """

    active: ClassVar[LiveLines | None] = None

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._notes = SharedNotes()

    def show(self, line: str | None) -> None:
        """Replace the line of this process; None removes it."""
        with self._erased() as lines:
            if line is None:
                lines.pop(str(os.getpid()), None)
            else:
                lines[str(os.getpid())] = line

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Erase the lines while something else is written to the terminal, and draw them again below it."""
        with self._erased():
            yield

    def size(self) -> os.terminal_size:
        """Return the terminal's columns and rows."""
        columns = rows = 0
        with contextlib.suppress(OSError):  # the terminal is gone
            columns, rows = os.get_terminal_size(self._terminal)
        return os.terminal_size((columns or 80, rows or 24))

    @contextlib.contextmanager
    def _erased(self) -> Iterator[dict[str, str]]:
        with self._notes.held() as lines:
            if lines:
                self._write(ERASE)
            for process in [process for process in lines if not _is_alive(int(process))]:
                del lines[process]
            yield lines
            self._write(self._drawn(lines.values()))

    def _drawn(self, lines: Iterable[str]) -> str:
        width, height = self.size()
        shown = [line[: width - 1] for line in lines][: height - 1]
        return "\n".join(shown) + "\x1b[A" * (len(shown) - 1) + ("\r" if shown else "")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            os.write(self._terminal, text.encode())


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
