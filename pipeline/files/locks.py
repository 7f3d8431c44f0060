"""Locks between processes that die with their owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Lock:
    """An exclusive lock on a file, which is there only while somebody holds it.

    The kernel releases the lock when its owner ends, however that happens; a file that was left behind
    is taken over. The file says who holds the lock, and what else its owner has to say in ``text``.
    """

    path: Path
    text: str = ""

    @contextlib.contextmanager
    def held(self, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock, after waiting for it; ``on_wait`` is told once who has it."""
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
        """Hold the lock if it is free, and tell whether it was."""
        descriptor = self._take(fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                self._release(descriptor)

    def holder(self) -> str | None:
        """Say which process holds the lock, as ``process 123 on HOST``; None where it is free."""
        content = self._content_if_held()
        return None if content is None else content.partition("\n")[0] or "another process"

    def note(self) -> str | None:
        """Return the ``text`` of whoever holds the lock; None where it is free."""
        content = self._content_if_held()
        return None if content is None else content.partition("\n")[2]

    def _content_if_held(self) -> str | None:
        try:
            with self.path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read().decode()
        except FileNotFoundError:
            pass
        return None

    def _take(self, operation: int) -> int | None:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, operation)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError as error:  # a file system without locks, such as some that are shared
                os.close(descriptor)
                raise OSError(error.errno, error.strerror, str(self.path)) from None
            except BaseException:
                os.close(descriptor)
                raise
            if self._is_still_there(descriptor):
                self._sign(descriptor)
                return descriptor
            os.close(descriptor)

    def _sign(self, descriptor: int) -> None:
        """Say in the file who holds the lock.

        Where the disk has no room for that, only a lock with a ``text`` is given back: others must be had then,
        too, to remove what is no longer needed.
        """
        try:
            os.truncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n{self.text}".encode())
        except OSError as error:
            if self.text:
                self._release(descriptor)
                raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _is_still_there(self, descriptor: int) -> bool:
        """Tell whether the locked file is the one at the path: its last holder may have removed it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _release(self, descriptor: int) -> None:
        self.path.unlink(missing_ok=True)
        os.close(descriptor)
