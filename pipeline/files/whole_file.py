"""Replace a file as a whole, so that no reader finds half of it."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import StoreError


def replace(path: Path, text: str) -> None:
    """Write a text in place of a file; the new one may be read by whom the old one may.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                temporary.touch(0o600)
                temporary.chmod(path.stat().st_mode)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}). Check its folder and its disk.") from None
