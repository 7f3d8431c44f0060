"""Remove results, and checkpoints, that no current setting reaches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.store import checkpoints, results, runs
from pipeline.store.record import DAMAGED_NAME, RECORD_NAME
from pipeline.store.removal import remove
from pipeline.store.stage import Stage

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Unreached:
    """A result, or a folder of checkpoints, that may go."""

    path: Path
    size: int
    days: float


def unreached(folders: list[Path], reached: Iterable[Stage], keep_days: float) -> list[Unreached]:
    """List what neither the given stages nor a run under way need and is older than ``keep_days``."""
    reached = list(reached)
    needed = {stage.path.resolve() for stage in reached} | runs.needed(folders) | checkpoints.needed(folders, reached)
    found = []
    for folder in folders:
        for path in (*results.listed(folder), *checkpoints.listed(folder)):
            days = max(0, time.time() - _made(path)) / SECONDS_A_DAY  # the clock may have been set back
            if path.resolve() not in needed and days >= keep_days:
                found.append(Unreached(path, sum(file.stat().st_size for file in path.iterdir()), days))
    return found


def collect(unreached: Iterable[Unreached], outputs: Path) -> None:
    """Remove what is listed, and the links that led to it."""
    for result in unreached:
        remove(result.path)
    for link in (outputs / "latest").glob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


def _made(path: Path) -> float:
    """When a result was published, or the last checkpoint kept, in seconds since 1970."""
    for name in (RECORD_NAME, DAMAGED_NAME):
        with contextlib.suppress(FileNotFoundError):
            return (path / name).stat().st_mtime
    return path.stat().st_mtime
