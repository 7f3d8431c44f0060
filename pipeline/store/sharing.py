"""Bring results from the remote to this machine, and give it those that were made here.

A result that only the remote has is a folder with a record, ``remote.json``, and without files. It is current like any
other; its files are fetched when something reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.files.whole_file import remove, replacing
from pipeline.progress.amounts import byte_amount
from pipeline.progress.monitor import Monitor
from pipeline.store import folders
from pipeline.store.record import FAILED_NAME, REMOTE_NAME, Record
from pipeline.store.remote.shared import Remote
from pipeline.store.stage import Stage


def look_up(stages: Iterable[Stage]) -> int:
    """Write the records of results that are not here but in the remote, and return how many these are."""
    missing = [stage for stage in stages if stage.remote and not _is_known(stage.path)]
    if not missing or missing[0].remote is None:
        return 0
    found = missing[0].remote.records(missing)
    for path, record in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with folders.lock(path).tried() as free:
            if free and not _is_known(path):
                path.mkdir(exist_ok=True)
                name = FAILED_NAME if record.failure else REMOTE_NAME
                with replacing(path / name) as temporary:  # not synced: it can be looked up again
                    temporary.write_text(record.text)
    return len(found)


def take_record(stage: Stage, content_key: str, inputs: dict[str, dict[str, str]], run: str) -> Record | None:
    """Take a result with this content key from the remote, or adopt one of another key; the stage's lock is held.

    Only its record is written. ``inputs`` are those that the record of an adopted result names.
    """
    if stage.remote is None:
        return None
    record = stage.remote.records([stage]).get(stage.path)
    if record is None or record.content_key != content_key:
        equal = stage.remote.equal(stage, content_key)
        if equal is None:
            return None
        record = equal.adopted(stage.key, inputs, run)
    _publish_record(stage.path, record)
    return record


def fetch(path: Path, remote: Remote | None, monitor: Monitor) -> bool:
    """Fetch the files of a result that only the remote has; return whether they are here now.

    Where the remote does not have them, the record is removed, so that the result is made here.
    """
    if Record.read(path) or Record.read(path, FAILED_NAME):
        return True
    if remote is None or not (path / REMOTE_NAME).is_file():
        return False
    with folders.lock(path).held(lambda holder: monitor.log(f"waiting for {holder}, which makes {path}")):
        record = Record.read(path, REMOTE_NAME)
        if record is None or Record.read(path):  # another process has fetched or made it meanwhile
            return Record.read(path) is not None
        made = folders.new_temporary(path)
        try:
            if _fetched(record, path, made, remote, monitor):
                return True
            (path / REMOTE_NAME).unlink(missing_ok=True)
            return False
        finally:
            remove(made)


def give(stage: Stage, record: Record, upstream: Iterable[Stage], monitor: Monitor, *, is_forced: bool) -> Record:
    """Write a result and those upstream to the remote, where they are not there yet; the stage's lock is held.

    Where another machine was first, and has made other content from the same inputs, its result takes the place of
    this one, unless this one is forced: results downstream of the two would not fit each other. The record of the
    result that counts here is returned.
    """
    if stage.remote is None or not stage.remote.writes:
        return record
    before = {source.path: found for source in upstream if (found := Record.read(source.path))}
    if record in stage.remote.push(before | {stage.path: record}, monitor).records or is_forced:
        return record
    first = stage.remote.records([stage]).get(stage.path)
    if first is None or first.content == record.content or first.content_key != record.content_key:
        return record
    made = folders.new_temporary(stage.path)
    if not _fetched(first, stage.path, made, stage.remote, monitor):
        return record
    monitor.log(f"{stage.name}: another machine made it first; its result replaces this one")
    return first


def _is_known(path: Path) -> bool:
    return bool(Record.known(path) or Record.read(path, FAILED_NAME))


def _fetched(record: Record, path: Path, made: Path, remote: Remote, monitor: Monitor) -> bool:
    """Download a result into a temporary folder and publish it; return whether that succeeded."""
    if not remote.download(record, path, made, monitor):
        return False
    monitor.log(f"{record.stage}: {byte_amount(record.size)} from {remote.url}")
    record.write(made)
    folders.publish(path)
    return True


def _publish_record(path: Path, record: Record) -> None:
    """Publish a result without files: its files are in the remote."""
    record.write(folders.new_temporary(path), REMOTE_NAME)
    folders.publish(path)
