"""Read every file of every result, and find those that are not what was recorded."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pipeline.engines import devices
from pipeline.progress.monitor import Monitor
from pipeline.store import results
from pipeline.store.record import DAMAGED_NAME, RECORD_NAME, Record


def verify(folders: Iterable[Path], monitor: Monitor) -> list[str]:
    """Compare the digests of all results, on all cores, and withdraw the damaged ones.

    A result that is withdrawn is made again by the next run that needs it.

    Returns
    -------
    list of str
        What is wrong, a line for each file.
    """
    records = {path: Record.read(path) for folder in folders for path in results.listed(folder)}
    total = sum(record.size for record in records.values() if record)
    done = 0
    found: list[str] = []
    # Hashing releases the interpreter's lock, so that threads use all cores.
    with ThreadPoolExecutor(devices.cores()) as pool:
        pending = {pool.submit(_problems, path, record): path for path, record in records.items()}
        for finished in as_completed(pending):
            path = pending[finished]
            record = records[path]
            problems = finished.result()
            found += [f"{path}: {problem}" for problem in problems]
            if problems and record:
                record.withdraw(path)
            done += record.size if record else 0
            monitor.progress(done, total, "B")
    return sorted(found)


def _problems(path: Path, record: Record | None) -> list[str]:
    if record:
        return record.altered(path)
    if damaged := Record.read(path, DAMAGED_NAME):
        return [f"{problem} (withdrawn earlier)" for problem in damaged.altered(path)] or ["was withdrawn earlier"]
    return [f"{RECORD_NAME} has other content than it had" if results.has_record(path) else "has no record"]
