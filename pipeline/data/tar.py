"""Read a gzipped tar from front to back, without unpacking it and without trusting it.

`GzippedTar` writes nothing, keeps one member at a time in memory, and computes the file's SHA-256 on the way.

From `tarfile` it takes only the parser of a header. The stream mode of `tarfile` (``r|gz``) ignores gzip's checksum
and bytes after gzip's end, and takes a damaged header for the end of the tar. It reads extended headers whole: one of
300 MB takes 603 MiB of memory, 60 kB of digits in one take 9 s, and 2,000 long names in a row end in a RecursionError
(Python 3.11.7). `gzip` reads empty streams (6 MB: 2.3 s) and a header's file name (20 MB: 3.5 s) in one call, which
its caller cannot interrupt. ``python fuzz/archive.py tar`` and ``python fuzz/archive.py gzip`` search for inputs that
break the bounds here.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from pipeline.errors import ArchiveError

MAX_BYTES = 512 << 20
"""Maximum size of an unpacked archive; CIFAR-10's has 186 million bytes."""
MAX_MEMBERS = 10_000
"""Maximum number of headers in a tar; CIFAR-10's has 9."""
MAX_GZIP_STREAMS = 10_000
"""Maximum number of gzip streams in a file, one after the other; CIFAR-10's has 1, and bgzip would make it 2,900."""

_BLOCK = 512
_GZIP = 16 + zlib.MAX_WBITS
_STEP = 1 << 18
# Headers that hold long names and numbers for the next header. They are skipped, since no batch needs them.
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_FIRST_BYTES = {
    b"<": "a web page",
    b"PK": "a zip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
}
_WITHOUT_CONTENT = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a named pipe",
}


class GzippedTar:
    """Iterates over the members of a gzipped tar; `read` returns the content of the current member.

    Every method raises `ArchiveError` if the file is no sound gzip or no sound tar.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._gunzip = _Gunzip(file)
        self._stream = io.BufferedReader(self._gunzip, _STEP)
        self._unread = 0

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        for count in itertools.count(1):
            header = self._stream.read(_BLOCK)
            if not any(header):
                break
            if count > MAX_MEMBERS:
                raise ArchiveError(f"it holds more than {MAX_MEMBERS:,} files; expected at most that.")
            member = _member(header)
            self._unread = member.size
            if member.type not in _EXTENSIONS:
                yield member  # `read` takes its content, or leaves all of it
            padding = -member.size % _BLOCK
            self._skip(self._unread + padding)
        while self._stream.read(_STEP):  # the rest of the file completes its digest and gzip's checksum
            pass

    def read(self, member: tarfile.TarInfo, *, limit: int) -> bytearray:
        """Return the content of the current member, which must be a plain file of at most ``limit`` bytes."""
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            kind = _WITHOUT_CONTENT.get(member.type, f"of tar's type {member.type!r}")
            raise ArchiveError(f"{member.name!r} is {kind}; expected a file.")
        if member.size > limit:
            raise ArchiveError(f"{member.name!r} has {member.size:,} bytes; expected at most {limit:,}.")
        content = bytearray(member.size)
        if self._stream.readinto(content) < member.size:
            raise ArchiveError(f"the tar ends in the middle of {member.name!r}.")
        self._unread = 0
        return content

    def sha256(self) -> str:
        """Return the digest of the file on disk. Call it after the iteration has ended."""
        return self._gunzip.sha256.hexdigest()

    def _skip(self, size: int) -> None:
        while size:
            piece = self._stream.read(min(size, _STEP))
            if not piece:
                raise ArchiveError("the tar ends in the middle of a file.")
            size -= len(piece)


def _member(header: bytes) -> tarfile.TarInfo:
    """Parse a member's header."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise ArchiveError(f"it is gzipped, but holds no sound tar ({error}).") from None
    if member.type == tarfile.GNUTYPE_SPARSE or "GNUSparseFile." in member.name:
        raise ArchiveError(f"{member.name!r} is stored as a sparse file; expected none, so no `tar --sparse`.")
    if member.size < 0:
        raise ArchiveError(f"{member.name!r} has {member.size:,} bytes: the tar is damaged.")
    if member.type in _WITHOUT_CONTENT:
        member.size = 0
    return member


class _Gunzip(io.RawIOBase):
    """Unpacks a gzip file, bounds its size, compares its checksums and hashes the file itself."""

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file
        self._inflate = zlib.decompressobj(_GZIP)
        self._stored = self._next_stored()
        self._size = 0
        self._streams = 1
        self._check_kind()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = b""
        while not piece and (not self._inflate.eof or self._begin_next()):
            piece = self._inflated(min(len(buffer), _STEP))
        self._size += len(piece)
        if self._size > MAX_BYTES:
            raise ArchiveError(f"it holds more than {MAX_BYTES >> 20} MiB; expected at most that.")
        buffer[: len(piece)] = piece
        return len(piece)

    def _begin_next(self) -> bool:
        """Begin the next gzip stream; return whether there is one. Zeros may follow the last stream."""
        while following := self._stored or self._next_stored():
            self._stored = following.lstrip(b"\0")
            if self._stored:
                self._streams += 1
                if self._streams > MAX_GZIP_STREAMS:
                    raise ArchiveError(f"it is more than {MAX_GZIP_STREAMS:,} gzip files in one; expected one.")
                self._inflate = zlib.decompressobj(_GZIP)
                return True
        return False

    def _inflated(self, limit: int) -> bytes:
        stored = self._stored or self._next_stored()
        try:
            piece = self._inflate.decompress(stored, limit)
        except zlib.error as error:
            raise ArchiveError(f"it is damaged ({error}).") from None
        self._stored = self._inflate.unconsumed_tail or self._inflate.unused_data
        if not stored and not piece and not self._inflate.eof:
            raise ArchiveError(f"it is cut off after {self._file.tell():,} bytes.")
        return piece

    def _next_stored(self) -> bytes:
        try:
            stored = self._file.read(_STEP)
        except OSError as error:
            raise ArchiveError(f"it cannot be read ({error.strerror}).") from None
        self.sha256.update(stored)
        return stored

    def _check_kind(self) -> None:
        start = self._stored.lstrip()[:16]
        if not start:
            raise ArchiveError("the file is empty; expected a gzipped tar.")
        if not start.startswith(b"\x1f\x8b"):
            kind = next((kind for first, kind in _FIRST_BYTES.items() if start.startswith(first)), "no gzip file")
            raise ArchiveError(f"it is {kind} that starts with {start!r}; expected a gzipped tar.")
