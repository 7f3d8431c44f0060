"""Notes in memory that a process shares with the processes forked from it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import tempfile
from collections.abc import Iterator

BYTES = 1 << 16


class SharedNotes:
    """A small dict of strings; its lock ends with the process that holds it, even if that is killed."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, BYTES)
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115, it is closed with the process

    @contextlib.contextmanager
    def held(self) -> Iterator[dict[str, str]]:
        """Lock the notes, to read and change them."""
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            notes = self._read()
            yield notes
            content = json.dumps(notes).encode()
            if len(content) <= BYTES:
                self._memory[:] = content.ljust(BYTES, b"\0")
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _read(self) -> dict[str, str]:
        with contextlib.suppress(ValueError):  # still empty, or half written by a killed process
            return dict(json.loads(self._memory[:].rstrip(b"\0")))
        return {}
