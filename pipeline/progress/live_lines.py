"""Show a line of progress for each process at the bottom of a terminal, below everything that the processes print."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import ClassVar

ERASE = "\r\x1b[J"
"""Go to the beginning of the line and erase from there to the end of the screen (ECMA-48)."""
UP = "\x1b[A"
NOTES_BYTES = 1 << 16


class SharedNotes:
    """A small dict of strings in memory that this process shares with the processes forked from it.

    Its lock ends with the process that holds it, even if that is killed.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, NOTES_BYTES)
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115, it is closed with the process

    @contextlib.contextmanager
    def held(self) -> Iterator[dict[str, str]]:
        """Lock the notes, to read and change them; more notes than fit into the memory are not kept."""
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            notes: dict[str, str] = {}
            with contextlib.suppress(ValueError):  # still empty, or half written by a killed process
                notes = json.loads(self._memory[:].rstrip(b"\0"))
            yield notes
            content = json.dumps(notes).encode()
            if len(content) <= NOTES_BYTES:
                self._memory[:] = content.ljust(NOTES_BYTES, b"\0")
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)


class LiveLines:
    """Lines of progress, one for each process, that this process and those forked from it update.

    The cursor rests at the beginning of the first line, so that any process can erase all lines.
    """

    active: ClassVar[LiveLines | None] = None
    """The lines of the console, if `pipeline.progress.terminal.prepare_console` has made them."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._notes = SharedNotes()

    def show(self, line: str | None) -> None:
        """Replace the line of this process; None removes it."""
        with self.hidden() as lines:
            if line is None:
                lines.pop(str(os.getpid()), None)
            else:
                lines[str(os.getpid())] = line

    @contextlib.contextmanager
    def hidden(self) -> Iterator[dict[str, str]]:
        """Erase the lines while they change or something else is written to the terminal, and draw them below it."""
        with self._notes.held() as lines:
            if lines:
                self._write(ERASE)
            for process in list(lines):
                try:
                    os.kill(int(process), 0)
                except OSError:  # there is no such process, or another user's
                    del lines[process]  # it was killed, and could not remove its line
            yield lines
            width, height = self.size()
            shown = [line[: width - 1] for line in lines.values()][: height - 1]
            self._write("\n".join(shown) + UP * (len(shown) - 1) + ("\r" if shown else ""))

    def size(self) -> os.terminal_size:
        """Return the terminal's columns and rows."""
        columns = rows = 0
        with contextlib.suppress(OSError):  # the terminal is gone
            columns, rows = os.get_terminal_size(self._terminal)
        return os.terminal_size((columns or 80, rows or 24))

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            os.write(self._terminal, text.encode())
