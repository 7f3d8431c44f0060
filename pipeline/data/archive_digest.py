"""The digest of the archive, which decides every result: given in the settings, or taken of a file on disk."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.published_archive import MAXIMUM_BYTES
from pipeline.errors import SettingError
from pipeline.files.remembered_digests import remembered_file_digest


def given_digest(sha256: str) -> str:
    """Return the digest that the settings give, in lower case.

    Raises
    ------
    SettingError
        It is not a SHA-256.
    """
    digest = sha256.lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise SettingError(f"DownloadCIFAR.sha256 is {sha256!r}; expected 64 hexadecimal digits.")
    return digest


def digest_on_disk(path: Path, memory: Path) -> str:
    """Return the digest of an archive on disk; the file ``memory`` keeps those of unchanged files.

    Raises
    ------
    SettingError
        There is no file, or an empty or too large one.
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
