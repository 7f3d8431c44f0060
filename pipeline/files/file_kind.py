"""Tell regular files from other things at a path: opening a pipe would wait, and opening a device may change it."""

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
    """Return what a path, or the link at it, leads to, such as ``a folder``, without opening it; None for a file.

    Raises
    ------
    OSError
        It leads to nothing.
    """
    mode = path.stat().st_mode
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "something special")
