"""What a path leads to, where a file is wanted: opening some of it would wait, or do something to a device."""

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


def irregular(path: Path) -> str | None:
    """Say what a path, or the link at it, leads to, without opening that; None for a regular file.

    Raises
    ------
    OSError
        It leads to nothing.
    """
    mode = path.stat().st_mode
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "something special")
