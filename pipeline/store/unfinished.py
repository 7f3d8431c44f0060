"""Keep folders of checkpoints, from which stages resume; their content is a matter of the stages' functions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.files.locks import Lock, remove_abandoned_locks
from pipeline.files.whole_file import remove
from pipeline.progress.monitor import Monitor
from pipeline.store.record import Record
from pipeline.store.stage import CHECKPOINTS, Stage, checkpoints_name


@contextlib.contextmanager
def held(stage: Stage, contents: Mapping[str, str], monitor: Monitor, *, restart: bool) -> Iterator[dict[str, Path]]:
    """Lock a stage's folder of checkpoints and yield it as a keyword argument; an empty dict where the stage has none.

    Stages that differ only in length share a folder: the second waits, and resumes where the first ends. ``contents``
    are the digests of the inputs; ``restart`` empties the folder first.
    """
    if stage.length_parameter is None:
        yield {}
        return
    folder = stage.checkpoints(contents)
    folder.parent.mkdir(parents=True, exist_ok=True)

    def tell(holder: str) -> None:
        monitor.log(f"{stage.name}: waiting for {holder}, which makes it with other {stage.length_parameter}")

    with _lock(folder).held(tell):
        if restart or not folder.is_dir():
            remove(folder)
        yield {"checkpoints": folder}


def checkpoint_folders(folder: Path) -> Iterator[Path]:
    """List the folders of checkpoints in a folder of results."""
    return (path for path in sorted((folder / CHECKPOINTS).glob("*-*/")) if path.is_dir())


def needed_checkpoints(
    folders: Iterable[Path], stages: Iterable[Stage], results: Mapping[Path, Record | None]
) -> set[Path]:
    """Return the folders from which stages can resume, those from which results came, and those in use."""
    stages = list(stages)
    lengths = {stage.name: stage.length_parameter for stage in stages}
    paths = {path for folder in folders for path in checkpoint_folders(folder) if _lock(path).holder()}
    for stage in stages:
        records = {name: Record.known(source.path) for name, source in stage.inputs.items()}
        contents = {name: record.content for name, record in records.items() if record}
        if stage.length_parameter and contents.keys() == records.keys():
            paths.add(stage.checkpoints(contents))
    for path, result in results.items():
        if result and (length := lengths.get(result.stage)):
            contents = {name: source["content"] for name, source in result.inputs.items()}
            others = {"code": result.code, "inputs": contents, "versions": result.versions}
            name = checkpoints_name(result.stage, length, result.parameters, **others)
            paths.add(path.parents[1] / CHECKPOINTS / name)
    return {path.resolve() for path in paths}


def clear_leftovers(folder: Path) -> None:
    """Remove the locks and hidden files that killed processes left beside and in the checkpoints."""
    remove_abandoned_locks((folder / CHECKPOINTS).glob(".*.lock"))
    for path in checkpoint_folders(folder):
        if hidden := list(path.glob(".*")):
            with _lock(path).tried() as free:
                for leftover in hidden if free else ():
                    leftover.unlink(missing_ok=True)


def _lock(folder: Path) -> Lock:
    return Lock(folder.with_name(f".{folder.name}.lock"))
