"""Register the runs under way, and the results that each of them needs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.files.locks import Lock, remove_abandoned_locks

FOLDER = ".runs"
"""The folder, beside those of the stages, of the registrations. Each is a lock, which ends with its run."""


@contextlib.contextmanager
def registered(folders: Iterable[Path], run: str, paths: Iterable[Path]) -> Iterator[None]:
    """Register in these folders that a run needs the results at these paths, for as long as the block lasts."""
    note = json.dumps([str(path.resolve()) for path in paths])
    with contextlib.ExitStack() as stack:
        for folder in folders:
            with none_begins([folder]):
                remove_abandoned_locks((folder / FOLDER).glob("*.run"))
                stack.enter_context(Lock(_lock_path(folder, run), note).held(lambda _: None))
        yield


@contextlib.contextmanager
def none_begins(folders: Iterable[Path]) -> Iterator[None]:
    """Keep runs that use these folders from beginning, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        for folder in sorted({folder.resolve() for folder in folders}):
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
            stack.enter_context(Lock(folder / FOLDER / "gate").held(lambda _: None))
        yield


def needed_results(folders: Iterable[Path]) -> set[Path]:
    """Return the folders of the results that runs under way need."""
    paths: set[Path] = set()
    for folder in folders:
        for path in (folder / FOLDER).glob("*.run"):
            if note := Lock(path).note():
                paths.update(Path(name) for name in json.loads(note))
    return paths


def is_under_way(folder: Path, run: str) -> bool:
    """Return whether a run is at work, on this machine or another."""
    return Lock(_lock_path(folder, run)).holder() is not None


def _lock_path(folder: Path, run: str) -> Path:
    return folder / FOLDER / f"{run}.run"
