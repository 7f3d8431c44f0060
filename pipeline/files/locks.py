"""Lock files between processes; a lock ends with its owner, even if that is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
        descriptor = self._take(fcntl.LOCK_EX | fcntl.LOCK_NB)
        if descriptor is None:
            on_wait(self.holder() or "another process")
            descriptor = self._take(fcntl.LOCK_EX)
        assert descriptor is not None
        try:
            yield
        finally:
            self._release(descriptor)

    @contextlib.contextmanager
    def tried(self) -> Iterator[bool]:
        """Hold the lock if it is free; yield whether it was."""
        descriptor = self._take(fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                self._release(descriptor)

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

    def _take(self, operation: int) -> int | None:
        """Lock the file and return its descriptor; None if it is locked and the operation does not wait."""
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            with contextlib.ExitStack() as unless_taken:
                unless_taken.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, operation)
                except BlockingIOError:
                    return None
                except OSError as error:  # a file system without locks, as some network file systems are
                    raise OSError(error.errno, error.strerror, str(self.path)) from None
                if self._is_still_there(descriptor):
                    self._sign(descriptor)
                    unless_taken.pop_all()
                    return descriptor

    def _sign(self, descriptor: int) -> None:
        """Write the owner into the file.

        On a full disk a lock with a ``text`` fails. A lock without a text works all the same: the removal of results,
        which frees the disk, takes a lock, too.
        """
        try:
            os.truncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n{self.text}".encode())
        except OSError as error:
            if self.text:
                self.path.unlink(missing_ok=True)
                raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _is_still_there(self, descriptor: int) -> bool:
        """Return whether the locked file is still at the path: its last owner may have removed it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _release(self, descriptor: int) -> None:
        self.path.unlink(missing_ok=True)
        os.close(descriptor)
