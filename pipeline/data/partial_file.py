"""Write a file and compute its SHA-256 as its bytes arrive."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Self

from pipeline.errors import NO_SPACE, DownloadError


class PartialFile:
    """The beginning of a file, empty or left by an earlier run. The end of its ``with`` block closes it.

    Attributes
    ----------
    path : Path
    size : int
        Number of bytes in the file.
    pieces : int
        Number of responses that the bytes came from; earlier runs count as one response. If the number is 1, a wrong
        SHA-256 proves that the sender is wrong.

    Raises
    ------
    DownloadError
        The file cannot be opened or written, or the bytes that it is to get do not fit on its disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._full_size: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer a killed process loses no byte that arrived.
            self._file = path.open("a+b", buffering=0)
            self._file.seek(0)
            self._hash = hashlib.file_digest(self._file, "sha256")
            self.size = self._file.tell()
        except OSError as error:
            raise DownloadError(
                f"{path} cannot be opened for a download ({error.strerror}). Remove it, or make its folder writable."
            ) from None
        self.pieces = 1 if self.size else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.size:
            self.path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
        return self._hash.hexdigest()

    def clear(self) -> None:
        """Drop every byte."""
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.size = self.pieces = 0

    def begin_piece(self, full_size: int | None) -> None:
        """Expect the bytes of one more response, after which the file has ``full_size`` bytes (None: unknown)."""
        self._full_size = full_size
        if full_size and full_size - self.size > self._free():
            raise self._no_space("the disk is too small")
        self.pieces += 1

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno in NO_SPACE:
                raise self._no_space(str(error.strerror)) from None
            raise DownloadError(f"{self.path} cannot be written ({error.strerror}). Check its disk.") from None
        self._hash.update(data)
        self.size += len(data)

    def _free(self) -> int:
        return shutil.disk_usage(self.path.parent).free

    def _no_space(self, reason: str) -> DownloadError:
        needed = (
            f"{self._full_size - self.size:,} more bytes" if self._full_size else "more bytes, how many is unknown,"
        )
        return DownloadError(
            f"{self.path} cannot grow ({reason}): after {self.size:,} bytes it needs {needed} and finds "
            f"{self._free():,} bytes free. Free some space and type the same command again."
        )
