"""Which runs are under way, and which results each of them needs."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.files.locks import Lock

FOLDER = ".runs"


@contextlib.contextmanager
def registered(folders: Iterable[Path], run: str, paths: Iterable[Path]) -> Iterator[None]:
    """Tell others, for as long as this lasts, that a run needs the results at these paths, in these folders."""
    note = json.dumps([str(path.resolve()) for path in paths])
    with contextlib.ExitStack() as stack:
        for folder in folders:
            with alone([folder]):
                _forget_the_dead(folder)
                stack.enter_context(Lock(_lock_path(folder, run), note).held(lambda _: None))
        yield


@contextlib.contextmanager
def alone(folders: Iterable[Path]) -> Iterator[None]:
    """Keep runs that use these folders from beginning, as long as this lasts."""
    with contextlib.ExitStack() as stack:
        for folder in sorted({folder.resolve() for folder in folders}):
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
            stack.enter_context(Lock(folder / FOLDER / "gate").held(lambda _: None))
        yield


def needed(folders: Iterable[Path]) -> set[Path]:
    """Return the results that runs under way need."""
    paths: set[Path] = set()
    for folder in folders:
        for path in (folder / FOLDER).glob("*.run"):
            if note := Lock(path).note():
                paths.update(Path(name) for name in json.loads(note))
    return paths


def is_under_way(outputs: Path, run: str) -> bool:
    """Tell whether a run is still at work, on whatever machine."""
    return Lock(_lock_path(outputs, run)).holder() is not None


def temporary(path: Path, run: str) -> Path:
    """Name the file that a run, in this process, makes a link or a copy in before it takes the place of ``path``."""
    return path.with_name(f".{path.name}.{run}.{os.getpid()}")


def clear_leftovers(outputs: Path) -> None:
    """Remove the links and copies that runs had in the making when they were killed."""
    for path in (*outputs.glob(".*"), *outputs.glob("latest/.*")):
        made = re.fullmatch(r"\..+\.([0-9a-f]{12})\.\d+", path.name)
        if made and not is_under_way(outputs, made[1]):
            path.unlink(missing_ok=True)


def _forget_the_dead(outputs: Path) -> None:
    """Remove what runs left that were killed: taking their locks, which are free, removes them."""
    for path in (outputs / FOLDER).glob("*.run"):
        with Lock(path).tried():
            pass


def _lock_path(outputs: Path, run: str) -> Path:
    return outputs / FOLDER / f"{run}.run"
