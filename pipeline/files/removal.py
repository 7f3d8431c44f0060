"""Removing what lies where the store keeps folders, whatever somebody may have put there."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, a file, or a link, but not what the link leads to."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
