"""List the state of each stage: its result, or the reasons why it would run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import SettingError, did_you_mean
from pipeline.files.locks import Lock
from pipeline.store import reasons, results
from pipeline.store.record import Record
from pipeline.store.stage import Stage

Notes = Callable[[Mapping[str, Any]], list[str]]


@dataclass(frozen=True)
class Row:
    """The state of a stage; the last four are None where it has no result.

    Parameters
    ----------
    state : {"cached", "to run", "running"}
    seconds : float
        How long the result took to compute.
    size : int
        Bytes.
    notes : list of str
        Where the result was adopted from, libraries that have other versions now, and notes of the caller.
    """

    stage: str
    state: str
    key: str
    why: list[str]
    path: str
    made: str | None = None
    seconds: float | None = None
    size: int | None = None
    notes: list[str] | None = None


def status_rows(stages: Iterable[Stage], latest: Path, notes: Notes) -> list[Row]:
    """Return a row for each stage, in the given order.

    Parameters
    ----------
    latest : Path
        The folder of links to the results in use.
    notes : callable
        Returns more notes on a result from its measurements.
    """
    return [_row(stage, latest, notes) for stage in stages]


def status_table(rows: list[Row]) -> list[str]:
    """Return a line for each row and one of headers, for people to read."""
    cells = [("STAGE", "STATE", "KEY", "MADE", "TOOK", "SIZE", "WHY")]
    cells += [
        (
            row.stage,
            row.state,
            row.key[:8],
            _local_time(row.made),
            "" if row.seconds is None else f"{row.seconds:.1f} s",
            "" if row.size is None else _megabytes(row.size),
            "; ".join(filter(None, [reasons.folded(row.why), *(row.notes or [])])),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    return [
        "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in cells
    ]


def explain_stage(rows: list[Row], stage: str) -> list[str]:
    """Return lines with the state of a stage and every reason for it.

    Raises
    ------
    SettingError
        There is no such stage.
    """
    names = list(dict.fromkeys(row.stage for row in rows))
    if stage not in names:
        raise SettingError(f"--why is {stage!r}; expected one of {', '.join(names)}.{did_you_mean(stage, names)}")
    return [
        line
        for row in rows
        if row.stage == stage
        for line in (f"{row.stage} {row.key[:8]}: {row.state}", *(f"  {why}" for why in [*row.why, *(row.notes or [])]))
    ]


def _row(stage: Stage, latest: Path, notes: Notes) -> Row:
    record = results.current(stage)
    holder = Lock(stage.lock_path).holder()
    if record is None:
        why = [f"by {holder}"] if holder else reasons.reasons_to_run(stage, latest)
        return Row(stage.name, "running" if holder else "to run", stage.key, why, str(stage.path))
    return Row(
        stage.name,
        "cached",
        stage.key,
        [],
        str(stage.path),
        made=record.started,
        seconds=record.seconds,
        size=record.size,
        notes=[*_adoption(record), *reasons.other_versions(stage, record), *notes(record.measured)],
    )


def _adoption(record: Record) -> list[str]:
    return [f"adopted from {record.adopted_from[:8]}"] if record.adopted_from else []


def _local_time(moment: str | None) -> str:
    return "" if moment is None else f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
