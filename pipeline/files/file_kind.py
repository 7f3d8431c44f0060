"""Find out what is at a path without opening it: opening a pipe would wait, and opening a device may change it."""

from __future__ import annotations

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

    Raises
    ------
    OSError
        There is nothing at the path.
    """
    mode = path.stat().st_mode
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "something special")
