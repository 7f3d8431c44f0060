"""Folders in which stages keep what they can go on from; what is in them is the affair of their functions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.files.locks import Lock
from pipeline.files.whole_file import remove
from pipeline.progress.monitor import Monitor
from pipeline.store.record import Record
from pipeline.store.stage import CHECKPOINTS, Stage, checkpoints_name


@contextlib.contextmanager
def held(stage: Stage, contents: Mapping[str, str], monitor: Monitor, *, anew: bool) -> Iterator[dict[str, Path]]:
    """Hold the folder of a stage, and give what its function is to be told of it; nothing where it has none.

    Stages that only go to different lengths share a folder: the second waits, and goes on where the first ends.
    ``anew`` empties it.
    """
    if stage.length_parameter is None:
        yield {}
        return
    folder = stage.checkpoints(contents)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder).held(
        lambda holder: monitor.say(
            f"{stage.name}: waiting for {holder}, who does the same with other {stage.length_parameter}"
        )
    ):
        if anew or not folder.is_dir():
            remove(folder)
        yield {"checkpoints": folder}


def listed(folder: Path) -> Iterator[Path]:
    """List the folders of checkpoints beside those of results."""
    return (path for path in sorted((folder / CHECKPOINTS).glob("*-*/")) if path.is_dir())


def needed(folders: Iterable[Path], stages: Iterable[Stage], results: Mapping[Path, Record | None]) -> set[Path]:
    """Return those that the given stages can go on from, those that the given results came of, and those in use."""
    stages = list(stages)
    lengths = {stage.name: stage.length_parameter for stage in stages}
    paths = {path for folder in folders for path in listed(folder) if _lock(path).holder()}
    for stage in stages:
        records = {name: Record.read(source.path) for name, source in stage.inputs.items()}
        contents = {name: record.content for name, record in records.items() if record}
        if stage.length_parameter and contents.keys() == records.keys():
            paths.add(stage.checkpoints(contents))
    for path, result in results.items():
        if result and (length := lengths.get(result.stage)):
            paths.add(path.parents[1] / CHECKPOINTS / checkpoints_name(_identity(result), length))
    return {path.resolve() for path in paths}


def _identity(result: Record) -> dict[str, Any]:
    """Return what decided a result, as its stage had it."""
    return {
        "name": result.stage,
        "parameters": result.parameters,
        "code": result.code,
        "inputs": {name: source["content"] for name, source in result.inputs.items()},
        "versions": result.versions,
    }


def _lock(folder: Path) -> Lock:
    return Lock(folder.with_name(f".{folder.name}.lock"))


def clear_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left beside and in the checkpoints: locks, and hidden files."""
    for path in (folder / CHECKPOINTS).glob(".*.lock"):
        with Lock(path).tried():  # taking a lock that is free removes its file
            pass
    for path in listed(folder):
        if hidden := list(path.glob(".*")):
            with _lock(path).tried() as free:
                for leftover in hidden if free else ():
                    leftover.unlink(missing_ok=True)
