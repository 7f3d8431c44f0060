"""Find results, and make missing ones: adopt one of equal content, or compute it; publish it whole."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pipeline.files.digests import file_digest, json_digest
from pipeline.files.locks import Lock
from pipeline.files.whole_file import remove, sync
from pipeline.progress.monitor import Monitor
from pipeline.store import failures, unfinished
from pipeline.store.record import Record
from pipeline.store.stage import Stage
from pipeline.store.verification import input_damage


@dataclass(frozen=True)
class ForcedStages:
    """The names of stages that run again once in a run, although their results are current.

    ``found`` are the seals of these stages' results when the run began, from `seals`. Another seal shows that a result
    is new; the clocks of several machines need not agree.
    """

    names: frozenset[str] = frozenset()
    run: str = ""
    found: Mapping[Path, str] = field(default_factory=dict)

    def must_replace(self, stage: Stage, record: Record) -> bool:
        """Return whether this result must be made again: no run has made it since this run began."""
        is_new = record.run == self.run or self.found.get(stage.path, record.seal) != record.seal
        return stage.name in self.names and not is_new


NONE_FORCED = ForcedStages()

Outcome = Literal["computed", "adopted", "reused"]
"""How a stage came to its result."""


def upstream(*stages: Stage) -> list[Stage]:
    """List stages and all stages upstream of them, each once, in the order in which data flows."""
    found: dict[Path, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.path not in found:
            for source in stage.inputs.values():
                visit(source)
            found[stage.path] = stage

    for stage in stages:
        visit(stage)
    return list(found.values())


def seals(stages: Iterable[Stage]) -> dict[Path, str]:
    """Return the seals of stages' results, by path: each result has its own, and a missing one has an empty seal."""
    return {stage.path: record.seal if (record := Record.read(stage.path)) else "" for stage in stages}


def current(stage: Stage, forced: ForcedStages = NONE_FORCED) -> Record | None:
    """Return the record of a stage's result if the result can be used as it is."""
    return current_records([stage], forced)[stage.path]


def current_records(stages: Iterable[Stage], forced: ForcedStages = NONE_FORCED) -> dict[Path, Record | None]:
    """Return the `current` record of each stage, and of each stage upstream, by the path of the result."""
    found: dict[Path, Record | None] = {}
    for stage in upstream(*stages):
        sources = {name: found[source.path] for name, source in stage.inputs.items()}
        contents = {name: source.content for name, source in sources.items() if source}
        record = Record.read(stage.path) if contents.keys() == sources.keys() else None
        is_current = (
            record is not None
            and not record.problems(stage.path)
            and not forced.must_replace(stage, record)
            and record.content_key == stage.content_key(contents)
        )
        found[stage.path] = record if is_current else None
    return found


def first_missing(stage: Stage) -> Stage | None:
    """Return the first stage whose result cannot be used, of a stage and all upstream; None where there is none."""
    records = current_records([stage])
    return next((found for found in upstream(stage) if records[found.path] is None), None)


def outcome(record: Record, run: str) -> Outcome:
    """Return how a stage came to its result in a run."""
    if record.run != run:
        return "reused"
    return "adopted" if record.adopted_from else "computed"


def make(stage: Stage, monitor: Monitor, forced: ForcedStages = NONE_FORCED) -> tuple[Outcome, Record]:
    """Use the result of a stage, adopt it, or compute it; make missing and damaged inputs first.

    Raises
    ------
    StoreError
        The result cannot be written.
    PipelineError
        The stage's function raised it.
    """
    with failures.explained(stage):
        stage.path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(stage.lock_path)
        with lock.held(lambda holder: monitor.log(f"{stage.name}: waiting for {holder}, which makes it")):
            return _make_locked(stage, monitor, forced)


def _make_locked(stage: Stage, monitor: Monitor, forced: ForcedStages) -> tuple[Outcome, Record]:
    if record := current(stage, forced):
        return "reused", record
    remove(stage.temporary)
    contents = _recorded_contents(stage, monitor, forced)
    is_forced = stage.name in forced.names
    try:
        equal = None if is_forced else _equal_result(stage, stage.content_key(contents))
        if equal:
            monitor.log(f"{stage.name}: its inputs have the same content as before; the result is adopted")
            record = _adopt(stage, *equal, contents, forced.run)
        else:
            contents = _undamaged_contents(stage, monitor, forced)
            with (
                unfinished.held(stage, contents, monitor, restart=is_forced) as checkpoints,
                stage.reserved(monitor),
            ):
                record = _compute(stage, contents, checkpoints, forced.run, monitor)
        _publish(stage)
    finally:
        remove(stage.temporary)
    return outcome(record, forced.run), record


def _recorded_contents(stage: Stage, monitor: Monitor, forced: ForcedStages) -> dict[str, str]:
    """Return the digests of a stage's inputs from their records; make missing inputs."""
    contents = {}
    for name, source in stage.inputs.items():
        while (record := Record.read(source.path)) is None:  # again, if another process removes it in between
            make(source, monitor, forced)
        contents[name] = record.content
    return contents


def _undamaged_contents(stage: Stage, monitor: Monitor, forced: ForcedStages) -> dict[str, str]:
    """Return the digests of a stage's inputs after comparing their files with them; make damaged inputs again.

    Otherwise a result of damaged files would be recorded, and used from then on, as one of undamaged files.
    """
    for source in stage.inputs.values():
        while (record := Record.read(source.path)) and (damage := input_damage(source.path, record, forced.run)):
            monitor.log(f"{stage.name}: {source.path} is made again: {', '.join(damage)}")
            record.withdraw(source.path)
            make(source, monitor, forced)
    return _recorded_contents(stage, monitor, forced)


def _compute(
    stage: Stage, contents: Mapping[str, str], checkpoints: Mapping[str, Path], run: str, monitor: Monitor
) -> Record:
    """Call the function of a stage; write the record of its result beside the files."""
    stage.temporary.mkdir()
    folders = {name: source.path for name, source in stage.inputs.items()}
    arguments: dict[str, Any] = {**folders, **stage.parameters, **stage.options}
    function = stage.resolve()
    with failures.explained(stage, stage.max_output_bytes(arguments), [stage.temporary, *checkpoints.values()]):
        started, clock = datetime.now(UTC), time.perf_counter()
        measured = function(output=stage.temporary, **arguments, **checkpoints, monitor=monitor)
        seconds = time.perf_counter() - clock
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
            inputs=_described_inputs(stage, contents),
            files=files,
            content=json_digest({name: file["sha256"] for name, file in files.items()}),
            started=started.isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            run=run,
            host=socket.gethostname(),
            versions=stage.versions,
            measured=measured or {},
        ).sealed()
        record.write(stage.temporary)
    return record


def _described_inputs(stage: Stage, contents: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {
        name: {"stage": source.name, "key": source.key, "content": contents[name]}
        for name, source in stage.inputs.items()
    }


def _equal_result(stage: Stage, content_key: str) -> tuple[Path, Record] | None:
    """Find an undamaged result of this stage, under any key, that the same code made from the same content."""
    for folder in stage.path.parent.iterdir():
        record = Record.read(folder)
        if record and record.content_key == content_key and not record.altered(folder):
            return folder, record
    return None


def _adopt(stage: Stage, folder: Path, found: Record, contents: Mapping[str, str], run: str) -> Record:
    """Link or copy the files of a result, and write the record of a result of this key."""
    stage.temporary.mkdir()
    for name in found.files:
        try:
            (stage.temporary / name).hardlink_to(folder / name)
        except OSError:  # a file system without hard links
            shutil.copyfile(folder / name, stage.temporary / name)
    record = replace(
        found,
        key=stage.key,
        inputs=_described_inputs(stage, contents),
        run=run,
        adopted_from=found.adopted_from or found.key,
    ).sealed()
    record.write(stage.temporary)
    return record


def _publish(stage: Stage) -> None:
    """Sync a finished result to the disk, then move it into place: a power cut leaves a whole result or none."""
    for path in (*stage.temporary.iterdir(), stage.temporary):
        sync(path)
    replaced = stage.path.with_name(f".{stage.key}.old")
    remove(replaced)
    if os.path.lexists(stage.path):
        stage.path.rename(replaced)  # rename(2) replaces no folder that has files
    stage.temporary.rename(stage.path)
    sync(stage.path.parent)
    remove(replaced)


def clear_leftovers(folder: Path) -> None:
    """Remove unfinished results that killed processes left in the folder of a stage."""
    for leftover in [*folder.glob(".*.tmp"), *folder.glob(".*.old"), *folder.glob(".*.lock")]:
        with Lock(leftover.with_suffix(".lock")).tried() as free:
            if free and leftover.suffix != ".lock":  # trying a lock has removed its file
                remove(leftover)
