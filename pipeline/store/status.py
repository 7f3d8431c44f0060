"""A row for each stage: whether its result is there, and if not, why it would run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.errors import SettingError, did_you_mean
from pipeline.files.locks import Lock
from pipeline.store import reasons, results
from pipeline.store.record import Record
from pipeline.store.stage import Stage


@dataclass(frozen=True)
class Row:
    """What is known of a stage; the last four are None where there is no result.

    Parameters
    ----------
    state : {"cached", "to run", "running"}
    seconds : float
        How long the result took to compute.
    size : int
        Bytes.
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


def rows(stages: Iterable[Stage], latest: Path) -> list[Row]:
    """Look at stages, in the given order."""
    return [_row(stage, latest) for stage in stages]


def table(found: list[Row]) -> list[str]:
    """Put rows into lines for people to read."""
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
        for row in found
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    return [
        "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in cells
    ]


def explained(found: list[Row], stage: str) -> list[str]:
    """Say of a stage what state it is in, and everything that is known of why.

    Raises
    ------
    SettingError
        There is no such stage.
    """
    names = list(dict.fromkeys(row.stage for row in found))
    if stage not in names:
        raise SettingError(f"--why is {stage!r}; expected one of {', '.join(names)}.{did_you_mean(stage, names)}")
    return [
        line
        for row in found
        if row.stage == stage
        for line in (f"{row.stage} {row.key[:8]}: {row.state}", *(f"  {why}" for why in [*row.why, *(row.notes or [])]))
    ]


def _row(stage: Stage, latest: Path) -> Row:
    record = results.current(stage)
    holder = Lock(stage.lock_path).holder()
    if record is None:
        why = [f"by {holder}"] if holder else reasons.why(stage, latest)
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
        notes=_notes(stage, record),
    )


def _notes(stage: Stage, record: Record) -> list[str]:
    adopted = [f"adopted from {record.adopted_from[:8]}"] if record.adopted_from else []
    return adopted + reasons.other_versions(stage, record) + _flags(record)


def _flags(record: Record) -> list[str]:
    """Tell the flags with which Theano computed a result."""
    flags = record.measured.get("theano_flags", {})
    return [f"Theano flags {', '.join(f'{name}={value}' for name, value in flags.items())}"] if flags else []


def _local_time(moment: str | None) -> str:
    return "" if moment is None else f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
