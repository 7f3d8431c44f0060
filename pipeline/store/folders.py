"""Name, lock, publish and clear the folders of results."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.files.locks import Lock
from pipeline.files.whole_file import remove, sync


def temporary(path: Path) -> Path:
    """Return the folder in which a result is made before it is published."""
    return path.with_name(f".{path.name}.tmp")


def new_temporary(path: Path) -> Path:
    """Make the temporary folder of a result, empty, and return it."""
    made = temporary(path)
    remove(made)
    made.mkdir()
    return made


def lock(path: Path) -> Lock:
    """Return the lock of a result, which a process holds while it makes the result."""
    return Lock(path.with_name(f".{path.name}.lock"))


def publish(path: Path) -> None:
    """Sync a finished result to the disk, then move it into place: a power cut leaves a whole result or none."""
    made = temporary(path)
    for file in (*made.iterdir(), made):
        sync(file)
    replaced = path.with_name(f".{path.name}.old")
    remove(replaced)
    if os.path.lexists(path):
        path.rename(replaced)  # rename(2) replaces no folder that has files
    made.rename(path)
    sync(path.parent)
    remove(replaced)


def clear_leftovers(folder: Path) -> None:
    """Remove unfinished results that killed processes left in the folder of a stage."""
    for leftover in [*folder.glob(".*.tmp"), *folder.glob(".*.old"), *folder.glob(".*.lock")]:
        with Lock(leftover.with_suffix(".lock")).tried() as free:
            if free and leftover.suffix != ".lock":  # trying a lock has removed its file
                remove(leftover)
