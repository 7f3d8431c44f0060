"""Lock files between processes; a lock ends with its owner, even if that is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path


def remove_abandoned_locks(paths: Iterable[Path]) -> None:
    """Remove the files of locks whose owners were killed: each is taken if it is free, and releasing it removes it."""
    for path in paths:
        with Lock(path).tried():
            pass


@dataclass(frozen=True)
class Lock:
    """An exclusive lock on a file; the file exists only while the lock is held.

    The kernel releases the lock when its owner ends. A file that a killed owner left behind is locked again. The first
    line of the file names the owner; the owner's ``text`` follows.
    """

    path: Path
    text: str = ""

    @contextlib.contextmanager
    def held(self, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock, after waiting for it; ``on_wait`` receives the name of its owner once."""
        with contextlib.ExitStack() as stack:
            if not stack.enter_context(self.tried()):
                on_wait(self.holder() or "another process")
                stack.enter_context(self.tried(waits=True))
            yield

    @contextlib.contextmanager
    def tried(self, *, waits: bool = False) -> Iterator[bool]:
        """Hold the lock if it is free, or with ``waits`` as soon as it is; yield whether it is held."""
        file = self._take(fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield file is not None
        finally:
            if file is not None:
                self.path.unlink(missing_ok=True)
                file.close()

    def holder(self) -> str | None:
        """Return the owner, as ``process 123 on HOST``; None where the lock is free."""
        content = self._content_if_held()
        return None if content is None else content.partition("\n")[0] or "another process"

    def note(self) -> str | None:
        """Return the owner's ``text``; None where the lock is free."""
        content = self._content_if_held()
        return None if content is None else content.partition("\n")[2]

    def _content_if_held(self) -> str | None:
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().decode()
        return None

    def _take(self, operation: int) -> FileIO | None:
        """Lock the file and return it; None if it is locked and the operation does not wait."""
        while True:
            with contextlib.ExitStack() as unless_taken:
                file = unless_taken.enter_context(self.path.open("ab", buffering=0))
                try:
                    fcntl.flock(file, operation)
                    if self._is_still_there(file):
                        self._sign(file)
                        unless_taken.pop_all()
                        return file
                except BlockingIOError:
                    return None
                except OSError as error:  # a full disk, or a file system without locks, as on some networks
                    raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _sign(self, file: FileIO) -> None:
        """Write the owner into the file.

        On a full disk a lock with a ``text`` fails. A lock without a text works all the same: the removal of results,
        which frees the disk, takes a lock, too.
        """
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n{self.text}".encode())
        except OSError:
            if self.text:
                self.path.unlink(missing_ok=True)
                raise

    def _is_still_there(self, file: FileIO) -> bool:
        """Return whether the locked file is still at the path: its last owner may have removed it."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False
