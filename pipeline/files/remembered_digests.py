"""Digests of files, remembered for as long as size, times and inode stay the same."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.files.digests import file_digest
from pipeline.files.json_cache import read_sealed, write_sealed


def remembered_file_digest(path: Path, memory: Path) -> str:
    """Return the SHA-256 of a file; read it only if its size, times or inode have changed since it was last hashed."""
    status = path.stat()
    # A program can set the time of modification, as `cp -p` does, but not the time of change.
    identity = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    known = read_sealed(memory)
    name = str(path.resolve())
    match known.get(name):
        case [*remembered, str(digest)] if remembered == identity and re.fullmatch("[0-9a-f]{64}", digest):
            return digest
    digest = file_digest(path)
    write_sealed(memory, known | {name: [*identity, digest]})
    return digest


def forget(path: Path, memory: Path) -> None:
    """Forget the digest of a file, so that it is read again."""
    known = read_sealed(memory)
    if known.pop(str(path.resolve()), None) is not None:
        write_sealed(memory, known)
