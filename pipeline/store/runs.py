"""Register the runs under way, and the results that each of them needs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.files.locks import Lock

FOLDER = ".runs"


@contextlib.contextmanager
def registered(folders: Iterable[Path], run: str, paths: Iterable[Path]) -> Iterator[None]:
    """Register in these folders that a run needs the results at these paths, for as long as the block lasts."""
    note = json.dumps([str(path.resolve()) for path in paths])
    with contextlib.ExitStack() as stack:
        for folder in folders:
            with none_begins([folder]):
                _clear_dead(folder)
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


def is_under_way(outputs: Path, run: str) -> bool:
    """Return whether a run is at work, on this machine or another."""
    return Lock(_lock_path(outputs, run)).holder() is not None


def _clear_dead(outputs: Path) -> None:
    """Remove the registrations of killed runs: taking a lock that is free removes its file."""
    for path in (outputs / FOLDER).glob("*.run"):
        with Lock(path).tried():
            pass


def _lock_path(outputs: Path, run: str) -> Path:
    return outputs / FOLDER / f"{run}.run"
