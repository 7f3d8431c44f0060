"""List the state of each stage: its result, or the reasons why it would run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import SettingError, did_you_mean
from pipeline.progress.amounts import byte_amount
from pipeline.store import folders, reasons, results
from pipeline.store.record import RECORD_NAME
from pipeline.store.stage import Stage


@dataclass(frozen=True)
class Row:
    """The state of a stage; the last four are None where it has no result.

    Parameters
    ----------
    state : {"cached", "remote", "to run", "running"}
        A remote result's files are not here, but in the remote.
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


def status_row(stage: Stage, latest: Path, notes: Callable[[Mapping[str, Any]], list[str]]) -> Row:
    """Return the state of a stage.

    Parameters
    ----------
    latest : Path
        The folder of links to the results in use.
    notes : callable
        Returns more notes on a result from its measurements.
    """
    record = results.current(stage)
    holder = folders.lock(stage.path).holder()
    if record is None:
        why = [f"by {holder}"] if holder else reasons.reasons_to_run(stage, latest)
        return Row(stage.name, "running" if holder else "to run", stage.key, why, str(stage.path))
    adoption = [f"adopted from {record.adopted_from[:8]}"] if record.adopted_from else []
    return Row(
        stage.name,
        "cached" if (stage.path / RECORD_NAME).is_file() else "remote",
        stage.key,
        [],
        str(stage.path),
        made=record.started,
        seconds=record.seconds,
        size=record.size,
        notes=[*adoption, *reasons.other_versions(stage, record), *notes(record.measured)],
    )


def status_table(rows: list[Row]) -> list[str]:
    """Return a line for each row and one of headers, for people to read."""
    cells = [("STAGE", "STATE", "KEY", "MADE", "TOOK", "SIZE", "WHY")]
    cells += [
        (
            row.stage,
            row.state,
            row.key[:8],
            "" if row.made is None else f"{datetime.fromisoformat(row.made).astimezone():%Y-%m-%d %H:%M}",
            "" if row.seconds is None else f"{row.seconds:.1f} s",
            "" if row.size is None else byte_amount(row.size),
            "; ".join(filter(None, [reasons.folded(row.why), *(row.notes or [])])),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


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
