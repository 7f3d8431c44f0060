"""Find results, and make missing ones: adopt one of equal content, or compute it; publish it whole."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import DivergedError
from pipeline.files.digests import file_digest, json_digest
from pipeline.files.whole_file import remove
from pipeline.progress.monitor import Monitor
from pipeline.store import failures, folders, sharing, unfinished
from pipeline.store.record import (
    FAILED_NAME,
    FAILURE,
    RECORD_NAME,
    REMOTE_NAME,
    Outcome,
    Record,
    with_content_key,
)
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
    return {stage.path: record.seal if (record := known_record(stage)) else "" for stage in stages}


def current(stage: Stage, forced: ForcedStages = NONE_FORCED) -> Record | None:
    """Return the record of a stage's result if the result can be used as it is."""
    return current_records([stage], forced)[stage.path]


def current_records(stages: Iterable[Stage], forced: ForcedStages = NONE_FORCED) -> dict[Path, Record | None]:
    """Return the `current` record of each stage, and of each stage upstream, by the path of the result."""
    found: dict[Path, Record | None] = {}
    for stage in upstream(*stages):
        sources = {name: found[source.path] for name, source in stage.inputs.items()}
        contents = {name: source.content for name, source in sources.items() if source}
        record = known_record(stage) if contents.keys() == sources.keys() else None
        is_current = (
            record is not None
            and not problems(stage, record)
            and not forced.must_replace(stage, record)
            and record.content_key == stage.content_key(contents)
        )
        found[stage.path] = record if is_current else None
    return found


def known_record(stage: Stage) -> Record | None:
    """Return the record of a stage's result, the files of which are here or in the remote.

    If the stage may fail, also that of its failure.
    """
    names = [RECORD_NAME, *([REMOTE_NAME] if stage.remote else []), *([FAILED_NAME] if stage.may_fail else [])]
    return next(filter(None, (Record.read(stage.path, name) for name in names)), None)


def problems(stage: Stage, record: Record) -> list[str]:
    """Name the files of a known result that are missing or have other sizes; those in the remote count as right."""
    is_here = not stage.remote or (stage.path / RECORD_NAME).is_file()
    return record.problems(stage.path) if is_here else []


def first_missing(stage: Stage) -> Stage | None:
    """Return the first stage whose result cannot be used, of a stage and all upstream; None where there is none."""
    records = current_records([stage])
    return next((found for found in upstream(stage) if records[found.path] is None), None)


def make(stage: Stage, monitor: Monitor, forced: ForcedStages = NONE_FORCED) -> tuple[Outcome, Record]:
    """Use the result of a stage, adopt it, or compute it; make missing and damaged inputs first.

    A failure that would happen again is recorded in place of a result. Where the stage may fail, that record is
    returned, and a stage of which an input has failed has failed, too.

    Raises
    ------
    StoreError
        The result cannot be written.
    PipelineError
        The stage's function raised it.
    """
    with failures.explained(stage):
        stage.path.parent.mkdir(parents=True, exist_ok=True)

        def tell(holder: str) -> None:
            monitor.log(f"{stage.name}: waiting for {holder}, which makes it")

        with folders.lock(stage.path).held(tell):
            return _make_locked(stage, monitor, forced)


def _make_locked(stage: Stage, monitor: Monitor, forced: ForcedStages) -> tuple[Outcome, Record]:
    if record := current(stage, forced):
        return "reused", record
    remove(stage.temporary)
    contents = _recorded_contents(stage, monitor, forced)
    is_forced = stage.name in forced.names
    try:
        record = None if is_forced else _taken(stage, contents, forced.run, monitor)
        if record is None and (failure := _failure_of_inputs(stage)):
            stage.temporary.mkdir()
            record = _write_record(stage, contents, forced.run, {FAILURE: failure})
            folders.publish(stage.path)
        if record is None:
            contents = _undamaged_contents(stage, monitor, forced)
            with (
                unfinished.held(stage, contents, monitor, restart=is_forced) as checkpoints,
                stage.reserved(monitor),
            ):
                record = _compute(stage, contents, checkpoints, forced.run, monitor)
            folders.publish(stage.path)
        record = sharing.give(stage, record, upstream(*stage.inputs.values()), monitor, is_forced=is_forced)
    finally:
        remove(stage.temporary)
    if record.failure and not stage.may_fail:
        raise DivergedError(record.failure)
    return record.outcome(forced.run), record


def _taken(stage: Stage, contents: Mapping[str, str], run: str, monitor: Monitor) -> Record | None:
    """Publish a result of equal content: adopted from this machine, or taken from the remote; None if there is none."""
    content_key = stage.content_key(contents)
    if equal := _equal_result(stage, content_key):
        monitor.log(f"{stage.name}: its inputs have the same content as before; the result is adopted")
        record = _adopt(stage, *equal, contents, run)
        folders.publish(stage.path)
        return record
    return sharing.take_record(stage, content_key, _described_inputs(stage, contents), run)


def _recorded_contents(stage: Stage, monitor: Monitor, forced: ForcedStages) -> dict[str, str]:
    """Return the digests of a stage's inputs from their records; make missing inputs."""
    contents = {}
    for name, source in stage.inputs.items():
        while (record := known_record(source)) is None:  # again, if another process removes it in between
            make(source, monitor, forced)
        contents[name] = record.content
    return contents


def _undamaged_contents(stage: Stage, monitor: Monitor, forced: ForcedStages) -> dict[str, str]:
    """Return the digests of a stage's inputs after comparing their files with them; fetch or make inputs.

    Otherwise a result of damaged files would be recorded, and used from then on, as one of undamaged files.
    """
    for source in stage.inputs.values():
        while not (sharing.fetch(source.path, stage.remote, monitor) and _is_undamaged(source, forced.run, monitor)):
            make(source, monitor, forced)
    return _recorded_contents(stage, monitor, forced)


def _is_undamaged(stage: Stage, run: str, monitor: Monitor) -> bool:
    """Return whether a result has the content that its record names; a damaged one is withdrawn.

    The record of a failure, where the stage may fail, names no files.
    """
    if stage.may_fail and Record.read(stage.path, FAILED_NAME):
        return True
    record = Record.read(stage.path)
    damage = input_damage(stage.path, record, run) if record else []
    if record and damage:
        monitor.log(f"{stage.path} is made again: {', '.join(damage)}")
        record.withdraw(stage.path)
    return record is not None and not damage


def _compute(
    stage: Stage, contents: Mapping[str, str], checkpoints: Mapping[str, Path], run: str, monitor: Monitor
) -> Record:
    """Call the function of a stage; write the record of its result beside the files, or that of its failure."""
    stage.temporary.mkdir()
    inputs = {name: source.path for name, source in stage.inputs.items()}
    arguments: dict[str, Any] = {**inputs, **stage.parameters, **stage.options}
    function = stage.resolve()
    with failures.explained(stage, stage.max_output_bytes(arguments), [stage.temporary, *checkpoints.values()]):
        started, clock = datetime.now(UTC), time.perf_counter()
        try:
            measured = function(output=stage.temporary, **arguments, **checkpoints, monitor=monitor)
        except DivergedError as error:
            folders.new_temporary(stage.path)
            measured = {FAILURE: str(error)}
        return _write_record(stage, contents, run, measured or {}, started, time.perf_counter() - clock)


def _failure_of_inputs(stage: Stage) -> str | None:
    """Return the failure of an input, which is also that of a stage that may fail."""
    records = map(known_record, stage.inputs.values() if stage.may_fail else ())
    return next((record.failure for record in records if record and record.failure), None)


def _write_record(
    stage: Stage,
    contents: Mapping[str, str],
    run: str,
    measured: dict[str, Any],
    started: datetime | None = None,
    seconds: float = 0,
) -> Record:
    """Write the record of the files in a stage's temporary folder."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(stage.temporary.iterdir())
    }
    digests = {name: file["sha256"] for name, file in files.items()}
    record = Record(
        stage=stage.name,
        key=stage.key,
        content_key=stage.content_key(contents),
        parameters=dict(stage.parameters),
        code=stage.code,
        inputs=_described_inputs(stage, contents),
        files=files,
        content=json_digest(measured if FAILURE in measured else digests),
        started=(started or datetime.now(UTC)).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        run=run,
        host=socket.gethostname(),
        versions=stage.versions,
        measured=measured,
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
    for folder in with_content_key(stage.path.parent, content_key):
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
    record = found.adopted(stage.key, _described_inputs(stage, contents), run)
    record.write(stage.temporary)
    return record
