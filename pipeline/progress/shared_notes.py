"""Notes that a process shares with those that are forked from it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import tempfile
from collections.abc import Iterator

BYTES = 1 << 16


class SharedNotes:
    """A small dict of strings in memory that this process shares with those forked from it.

    The lock is the system's, which ends with the process that holds it, however that ends.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, BYTES)
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115, it is closed with the process

    @contextlib.contextmanager
    def held(self) -> Iterator[dict[str, str]]:
        """Hold the notes, to read and to change, while no other process does."""
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
        with contextlib.suppress(ValueError):  # nothing yet, or cut off where a process was killed
            return dict(json.loads(self._memory[:].rstrip(b"\0")))
        return {}
