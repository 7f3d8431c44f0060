"""Bring results about: use what is there, adopt what is equal, compute what is missing; publish it whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.files.digests import file_digest, json_digest
from pipeline.files.locks import Lock
from pipeline.files.whole_file import remove, replacing, sync
from pipeline.progress.monitor import Monitor
from pipeline.store import failures, inputs, runs, unfinished
from pipeline.store.record import DAMAGED_NAME, RECORD_NAME, Record
from pipeline.store.stage import Stage


@dataclass(frozen=True)
class Redo:
    """Stages that are to run again although their results are current, once in a run.

    Parameters
    ----------
    names : frozenset of str
    run : str
    found : mapping of Path to str
        What `seals` returned when the run began. It tells which results were there before without asking a clock,
        of which several machines have several.
    """

    names: frozenset[str] = frozenset()
    run: str = ""
    found: Mapping[Path, str] = field(default_factory=dict)

    def asks_for(self, stage: Stage, record: Record) -> bool:
        """Say whether this result must be made again: neither this run nor another has made it since this one began."""
        is_made_since = record.run == self.run or self.found.get(stage.path, record.seal) != record.seal
        return stage.name in self.names and not is_made_since


class Outcome(StrEnum):
    """How a stage came to its result."""

    computed = "computed"
    adopted = "adopted"
    reused = "reused"


def closure(*roots: Stage) -> list[Stage]:
    """List stages and all that they need, each once, in the order in which data flows."""
    found: dict[Path, Stage] = {}

    def visit(stage: Stage) -> None:
        for source in stage.inputs.values():
            visit(source)
        found.setdefault(stage.path, stage)

    for root in roots:
        visit(root)
    return list(found.values())


def seals(stages: Iterable[Stage]) -> dict[Path, str]:
    """Return the seals of the results of stages, which no two results share; an empty one where there is no result."""
    records = {stage.path: Record.read(stage.path) for stage in stages}
    return {path: record.seal if record else "" for path, record in records.items()}


def current(stage: Stage, redo: Redo | None = None, seen: dict[Path, Record | None] | None = None) -> Record | None:
    """Return the record of a stage's result if that can be used as it is.

    ``seen`` remembers what was found, for as long as nothing can have changed: for one look at many stages.
    """
    seen = {} if seen is None else seen
    if stage.path not in seen:
        seen[stage.path] = _look(stage, redo, seen)
    return seen[stage.path]


def _look(stage: Stage, redo: Redo | None, seen: dict[Path, Record | None]) -> Record | None:
    contents = {}
    for name, source in stage.inputs.items():
        found = current(source, redo, seen)
        if found is None:
            return None
        contents[name] = found.content
    record = Record.read(stage.path)
    if record is None or record.problems(stage.path) or (redo and redo.asks_for(stage, record)):
        return None
    return record if record.content_key == stage.content_key(contents) else None


def make(stage: Stage, monitor: Monitor, redo: Redo | None = None) -> tuple[Outcome, Record]:
    """Bring a stage's result about: use it, adopt it, or compute it, from inputs that are what was recorded.

    An input that is not there, or that is found damaged, is made before.

    Raises
    ------
    StoreError
        The result cannot be written.
    PipelineError
        Whatever the stage's function raises.
    """
    with failures.explained(stage):
        stage.path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(stage.lock_path)
        with lock.held(lambda holder: monitor.say(f"{stage.name}: waiting for {holder}, who makes it")):
            return _make(stage, monitor, redo or Redo())


def missing(stage: Stage) -> Stage | None:
    """Return the first stage, of one and all that it needs, whose result cannot be used; None where all can."""
    seen: dict[Path, Record | None] = {}
    return next((found for found in closure(stage) if current(found, seen=seen) is None), None)


def outcome(record: Record, run: str) -> Outcome:
    """Say how a stage came to its result in a run."""
    if record.run != run:
        return Outcome.reused
    return Outcome.adopted if record.adopted_from else Outcome.computed


def point_latest(stage: Stage, latest: Path, run: str) -> None:
    """Let ``latest/NAME`` lead to a stage's result, on behalf of a run."""
    link = latest / stage.name
    target = os.path.relpath(stage.path.resolve(), latest.resolve())
    with contextlib.suppress(OSError):
        if str(link.readlink()) == target:
            return
    latest.mkdir(parents=True, exist_ok=True)
    with replacing(link, runs.temporary(link, run)) as temporary:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)


def copy_out(stage: Stage, name: str, folder: Path, run: str) -> None:
    """Keep a copy of one of a result's files in a folder where people look for it, on behalf of a run.

    A link would not survive being copied, served or shared with Windows.
    """
    content = (stage.path / name).read_bytes()
    copy = folder / name
    with contextlib.suppress(FileNotFoundError):
        if copy.read_bytes() == content:
            return
    with replacing(copy, runs.temporary(copy, run)) as temporary:
        temporary.write_bytes(content)


def listed(folder: Path) -> Iterator[Path]:
    """List the folders of all results of all stages in a folder, damaged ones too, and nothing else there."""
    for path in sorted(folder.glob("*/*/")):
        is_one = re.fullmatch("[A-Z][^/]*/[0-9a-f]{16}", f"{path.parent.name}/{path.name}")
        if is_one and not path.parent.is_symlink():
            yield path


def has_record(path: Path) -> bool:
    """Tell whether a record lies in the folder of a result, be it damaged; without one it is of no use."""
    return (path / RECORD_NAME).is_file() or (path / DAMAGED_NAME).is_file()


def _make(stage: Stage, monitor: Monitor, redo: Redo) -> tuple[Outcome, Record]:
    """Bring the result about; nobody else does."""
    if record := current(stage, redo):
        return Outcome.reused, record
    remove(stage.temporary)
    started = datetime.now(UTC)
    contents = _recorded_contents(stage, monitor, redo)
    forced = stage.name in redo.names
    try:
        twin = None if forced else _same_content(stage, stage.content_key(contents))
        if twin:
            monitor.say(f"{stage.name}: its inputs have the content that they had; the result is adopted")
            record = _adopt(stage, twin, contents, redo.run)
        else:
            contents = _undamaged_contents(stage, monitor, redo)
            with unfinished.held(stage, contents, monitor, anew=forced) as kept:
                record = _compute(stage, contents, kept, started, redo.run, monitor)
        _publish(stage)
    finally:
        remove(stage.temporary)
    return (Outcome.adopted if twin else Outcome.computed), record


def _recorded_contents(stage: Stage, monitor: Monitor, redo: Redo) -> dict[str, str]:
    """Return the content of a stage's inputs by their records; an input that is not there is made."""
    contents = {}
    for name, source in stage.inputs.items():
        while (record := Record.read(source.path)) is None:
            make(source, monitor, redo)
        contents[name] = record.content
    return contents


def _undamaged_contents(stage: Stage, monitor: Monitor, redo: Redo) -> dict[str, str]:
    """Return the content of a stage's inputs, which their files have; an input that is damaged is made again.

    Else what comes of the damage would be recorded as made from what there was before it, and be used for good.
    """
    for source in stage.inputs.values():
        while (record := Record.read(source.path)) and (damaged := inputs.damage(source.path, record, redo.run)):
            monitor.say(f"{stage.name}: {source.path} is made again: {', '.join(damaged)}")
            record.withdraw(source.path)
            make(source, monitor, redo)
    return _recorded_contents(stage, monitor, redo)


def _compute(
    stage: Stage,
    contents: Mapping[str, str],
    kept: Mapping[str, Path],
    started: datetime,
    run: str,
    monitor: Monitor,
) -> Record:
    stage.temporary.mkdir()
    folders = {name: source.path for name, source in stage.inputs.items()}
    arguments: dict[str, Any] = {**folders, **stage.parameters, **stage.options}
    function = stage.resolve()
    with failures.explained(stage, stage.room(arguments), [stage.temporary, *kept.values()]):
        clock = time.perf_counter()
        measured = function(output=stage.temporary, **arguments, **kept, monitor=monitor)
        seconds = time.perf_counter() - clock
        return _recorded(stage, contents, started, seconds, run, measured or {})


def _recorded(
    stage: Stage,
    contents: Mapping[str, str],
    started: datetime,
    seconds: float,
    run: str,
    measured: dict[str, Any],
) -> Record:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(stage.temporary.iterdir())
    }
    record = Record(
        stage=stage.name,
        key=stage.key,
        content_key=stage.content_key(contents),
        parameters=dict(stage.parameters),
        code=stage.code,
        inputs=inputs.described(stage, contents),
        files=files,
        content=json_digest({name: file["sha256"] for name, file in files.items()}),
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        run=run,
        host=socket.gethostname(),
        versions=stage.versions,
        measured=measured,
    ).sealed()
    record.write(stage.temporary)
    return record


def _adopt(stage: Stage, twin: Path, contents: Mapping[str, str], run: str) -> Record:
    """Take over the files of a result that the same code made from the same content."""
    found = Record.read(twin)
    if found is None:
        raise StoreError(f"{twin} was removed while {stage.name} adopted it. Run the same command again.")
    stage.temporary.mkdir()
    for name in found.files:
        _link_or_copy(twin / name, stage.temporary / name)
    values = asdict(found) | {
        "key": stage.key,
        "inputs": inputs.described(stage, contents),
        "run": run,
        "adopted_from": found.adopted_from or found.key,
    }
    record = Record(**values).sealed()
    record.write(stage.temporary)
    return record


def _same_content(stage: Stage, content_key: str) -> Path | None:
    """Find an undamaged result of this stage, under any key, that was made from the same content."""
    for folder in stage.path.parent.iterdir():
        record = Record.read(folder)
        if record and record.content_key == content_key and not record.altered(folder):
            return folder
    return None


def _publish(stage: Stage) -> None:
    """Move a finished result to its place, on disk before it is seen there."""
    for path in (*stage.temporary.iterdir(), stage.temporary):
        sync(path)
    replaced = stage.path.with_name(f".{stage.key}.old")
    remove(replaced)
    if os.path.lexists(stage.path):
        stage.path.rename(replaced)
    stage.temporary.rename(stage.path)
    sync(stage.path.parent)
    remove(replaced)


def clear_leftovers(folder: Path) -> None:
    """Remove from the folder of a stage what processes that died left half-made, unless somebody is at work on it."""
    for leftover in [*folder.glob(".*.tmp"), *folder.glob(".*.old"), *folder.glob(".*.lock")]:
        lock = Lock(leftover.with_suffix(".lock"))
        with lock.tried() as free:
            if free and leftover.suffix != ".lock":  # trying a lock has removed its file
                remove(leftover)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
