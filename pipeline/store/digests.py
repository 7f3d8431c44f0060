"""SHA-256 of files and of values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.store.json_cache import read_json, write_json


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_file_digest(path: Path, memory: Path) -> str:
    """Return the SHA-256 of a file, read again only if its size, time or inode is not what was hashed."""
    status = path.stat()
    identity = [status.st_size, status.st_mtime_ns, status.st_ino]
    known = read_json(memory)
    name = str(path.resolve())
    entry = known.get(name)
    if isinstance(entry, list) and entry[:-1] == identity:
        return str(entry[-1])
    digest = file_digest(path)
    write_json(memory, known | {name: [*identity, digest]})
    return digest


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a value of JSON's types; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
