"""Describe paths: the kind of file that is there, and the path as text."""

from __future__ import annotations

import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
}


def kind_unless_regular(path: Path) -> str | None:
    """Return ``a folder``, ``a pipe (FIFO)`` and so on for the target of a path; None for a regular file.

    The file is not opened: opening a pipe would wait, and opening a device may change it. Where there is nothing,
    `OSError` is raised.
    """
    mode = path.stat().st_mode
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "something special")


def readable(text: str) -> str:
    r"""Return an argument or a path as text that UTF-8 can encode, with other bytes as escapes: ``\xff``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
