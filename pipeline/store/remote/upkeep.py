"""Compare a remote with its digests, and remove from it what nobody uses."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pipeline.progress.monitor import Monitor
from pipeline.store.record import Record
from pipeline.store.remote import use
from pipeline.store.remote.objects import Entry, Objects, WrongObjectError
from pipeline.store.remote.shared import RECORD_BYTES, Remote, equal_object, file_object, record_at, record_object

GRACE = 1.0
"""Days for which a file stays that no record names: a machine may just be writing it. Twice `shared.FRESH`."""

BATCH = 500
"""Objects to remove between two signs of life."""


@dataclass(frozen=True)
class UnusedResult:
    """A result in a remote that nobody has used for some time; ``record`` is None where it cannot be read."""

    name: str
    record: Record | None
    days: float


def verify(remote: Remote, monitor: Monitor) -> list[str]:
    """Read everything in a remote; remove wrong records and files, if it may be written.

    Returns
    -------
    list of str
        A line for each record or file that is wrong.
    """
    records = _records(remote.objects, [*remote.objects.entries("ac"), *remote.objects.entries("failed")])
    files = remote.objects.entries("cas")  # after the records, before which other machines write their files
    wrong = {name: fault for name, entry in _counted(files, monitor) if (fault := _fault_of_file(remote, name, entry))}
    for name, record in records.items():
        if fault := _fault_of_record(record, files, wrong):
            wrong[name] = fault
    if remote.writes:
        remote.objects.delete(wrong)
    return [f"{remote.url}: {name} {fault}" for name, fault in sorted(wrong.items())]


def unused(objects: Objects, keep_days: float) -> list[UnusedResult]:
    """List the results that no run has used for some days, that are as old, and that no used result needs."""
    entries = objects.entries("ac")
    ages = {name: _days(entry) for name, entry in entries.items()}
    needed = use.needed(objects, keep_days) | {name for name, days in ages.items() if days < keep_days}
    records = _records(objects, entries)
    needed |= _upstream(needed, records)
    return [UnusedResult(name, records.get(name), ages[name]) for name in entries if name not in needed]


def remove(objects: Objects, results: Sequence[UnusedResult], keep_days: float) -> int:
    """Remove results, and files that no record names any more; return the size of these files in bytes.

    Records go first, so that nobody finds a record without its files. A file that was written again after the record
    that named it stays: a machine is about to write another record.
    """
    names = [result.name for result in results]
    pointers = [equal_object(result.record.stage, result.record.content_key) for result in results if result.record]
    failures = [name for name, entry in objects.entries("failed").items() if _days(entry) >= keep_days]
    _delete(objects, [*names, *pointers, *failures, *use.outdated(objects, keep_days)])
    files = objects.entries("cas")  # before the records, which other machines write after their files
    named = _files_of(_records(objects, objects.entries("ac")).values())
    ages: dict[str, float] = {}  # of the removed records, which were written after their files
    for result in results:
        ages |= {name: min(result.days, ages.get(name, result.days)) for name in _files_of([result.record])}
    gone = [name for name, entry in files.items() if name not in named and _days(entry) >= ages.get(name, GRACE)]
    _delete(objects, gone)
    return sum(files[name].size for name in gone)


def unused_table(results: Sequence[UnusedResult]) -> list[str]:
    """Return a line for each result, for people to read."""
    return [
        f"{result.name:34} {(result.record.size if result.record else 0) / 1e6:10.1f} MB  {result.days:6.1f} days"
        for result in results
    ]


def _records(objects: Objects, names: Collection[str]) -> dict[str, Record | None]:
    """Read records by the names of their objects; None for one that cannot be read or does not fit its name."""
    return {name: record_at(name, content) for name, content in objects.get(names, RECORD_BYTES).items()}


def _files_of(records: Iterable[Record | None]) -> set[str]:
    return {file_object(file["sha256"]) for record in records if record for file in record.files.values()}


def _upstream(names: Iterable[str], records: dict[str, Record | None]) -> set[str]:
    """Return the names of the records upstream of some records."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if record := records.get(waiting.pop()):
            sources = {record_object(source["stage"], source["key"]) for source in record.inputs.values()}
            waiting += sources - found
            found |= sources
    return found


def _fault_of_file(remote: Remote, name: str, entry: Entry) -> str | None:
    try:
        digest = remote.objects.digest(name, entry.size)
    except WrongObjectError as error:
        return str(error).removeprefix(f"{name} ")
    return None if file_object(digest) == name else "has other content than its name says"


def _fault_of_record(record: Record | None, files: dict[str, Entry], wrong: dict[str, str]) -> str | None:
    if record is None:
        return "is not the record of the result that its name says"
    for file, about in record.files.items():
        item = file_object(about["sha256"])
        if item in wrong or item not in files or files[item].size != about["bytes"]:
            return f"lacks its {file}, {item}"
    return None


def _counted(files: dict[str, Entry], monitor: Monitor) -> Iterable[tuple[str, Entry]]:
    """Yield files, and report the bytes of those that are done."""
    done, total = 0, sum(entry.size for entry in files.values())
    for name, entry in files.items():
        yield name, entry
        done += entry.size
        monitor.progress(done, total, "B")


def _days(entry: Entry) -> float:
    """Return the age of an object; not below 0 where the clocks of two machines differ."""
    return max(0.0, time.time() - entry.modified) / use.DAY


def _delete(objects: Objects, names: Sequence[str]) -> None:
    for start in range(0, len(names), BATCH):
        use.close(objects)
        objects.delete(names[start : start + BATCH])
