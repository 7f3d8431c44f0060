"""Keep the history of runs: a line of JSON when a run begins, and one when it ends."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.operations.changes import change_line
from pipeline.store import active_runs, results
from pipeline.store.stage import Stage

NAME = "history.jsonl"

RUN = "[0-9a-f]{12}"
"""The pattern of a run's identifier."""
BEGINNING = {"run": str, "root": str, "started": str, "process": int, "host": str}
END = {"run": str, "exit": str, "seconds": int | float, "stages": dict, "accuracy": dict}
"""The entries of the two lines of a run, with their types."""
OPTIONAL = {"keys", "settings"}
"""Entries that lines of earlier versions lack; each is a dict of texts, as ``stages`` is."""
LAST_BYTES = 65536
"""Bytes at the end of the history that `last_settings` reads: a history of years would delay each run."""

DAMAGE = (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""Errors that reading a damaged line may raise; the line is then skipped."""


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Append a line; several processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(b"\n" + json.dumps(entry).encode() + b"\n")  # the first line end follows a line that was cut off


def read_history(path: Path, start: int = 0) -> list[dict[str, Any]]:
    """Return the runs in the order in which they began, from the lines after the first ``start`` bytes of the file.

    Returns
    -------
    list of dict
        ``run``, ``root``, ``started``, ``process``, ``host``, ``exit`` ("ok", "failed", "running" or "killed");
        ``settings``, the ones that differ from their defaults, by name, which runs of earlier versions lack; for a
        run that ended also ``seconds``, ``stages`` (the outcome of each), ``accuracy`` and ``keys`` (of the results
        that have an accuracy).
    """
    found: dict[str, dict[str, Any]] = {}
    for line in filter(None, path.read_bytes()[start:].splitlines() if path.exists() else []):
        with contextlib.suppress(*DAMAGE):
            entry = _checked(json.loads(line))
            found.setdefault(entry["run"], {}).update(entry)
    return [
        {"exit": "running" if active_runs.is_under_way(path.parent, name) else "killed", **run}
        for name, run in found.items()
        if "root" in run
    ]


def last_settings(path: Path) -> dict[str, str]:
    """Return the settings of the run that began last; an empty dict where they cannot be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        for line in reversed(file.read().splitlines()):
            with contextlib.suppress(*DAMAGE):
                entry = _checked(json.loads(line))
                if "root" in entry:
                    settings: dict[str, str] = entry.get("settings", {})
                    return settings
    return {}


def summarise(stages: Iterable[Stage], forced: results.ForcedStages, seconds: float) -> dict[str, Any]:
    """Return the last line of a run: the outcome of each stage (computed, adopted, reused or not made), and accuracies.

    A stage that is in the run several times, with several settings, has its key behind its name.
    """
    stages = list(stages)
    several = {name for name, count in Counter(stage.name for stage in stages).items() if count > 1}
    outcomes: dict[str, str] = {}
    accuracy: dict[str, float] = {}
    keys: dict[str, str] = {}
    records = results.current_records(stages, forced)
    for stage in stages:
        name = f"{stage.name} {stage.key[:8]}" if stage.name in several else stage.name
        record = records[stage.path]
        if record is None:
            outcomes[name] = "not made"
            continue
        outcomes[name] = results.outcome(record, forced.run)
        if "accuracy" in record.measured:
            accuracy[name], keys[name] = record.measured["accuracy"], stage.key
    failed = "not made" in outcomes.values()
    return {
        "exit": "failed" if failed else "ok",
        "seconds": round(seconds, 3),
        "stages": outcomes,
        "accuracy": accuracy,
        "keys": keys,
    }


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Return the summary of a run in a few lines, for people to read."""
    groups: dict[str, list[str]] = {}
    for name, outcome in summary["stages"].items():
        groups.setdefault(outcome, []).append(name)
    counts = ", ".join(f"{len(names)} {outcome}" for outcome, names in groups.items())
    lines = [f"{len(summary['stages'])} stages in {summary['seconds']:.1f} s: {counts}"]
    lines += [
        f"  {outcome}: {', '.join(groups[outcome])}"
        for outcome in ("computed", "adopted", "not made")
        if outcome in groups
    ]
    lines += [f"  {name}: test accuracy {value:.4f}" for name, value in summary["accuracy"].items()]
    return lines


def history_table(runs: list[dict[str, Any]]) -> list[str]:
    """Return lines for people to read: one for each run, and one for each change since the run before."""
    return [
        f"{'STARTED':17} {'WHAT':14} {'TOOK':>9}  {'EXIT':8} STAGES",
        *(line for run in runs for line in _lines(run)),
    ]


def _lines(run: dict[str, Any]) -> list[str]:
    started = f"{datetime.fromisoformat(run['started']).astimezone():%Y-%m-%d %H:%M}"
    took = f"{run['seconds']:.1f} s" if "seconds" in run else ""
    outcomes = Counter(run.get("stages", {}).values())
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    accuracy = "".join(f"; {name} {value:.4f}" for name, value in run.get("accuracy", {}).items())
    return [
        f"{started:17} {run['root']:14} {took:>9}  {run['exit']:8} {counts}{accuracy}",
        *(f"{'':18}{change_line(change)}" for change in run.get("changes", [])),
    ]


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the known entries of a line, or raise one of `DAMAGE` where one is missing or has another type."""
    kinds = BEGINNING if "root" in entry else END
    checked = {name: entry[name] for name in kinds} | {name: entry[name] for name in OPTIONAL & entry.keys()}
    texts = [checked[name] for name in ({"stages"} | OPTIONAL) & checked.keys()]
    if not (
        all(isinstance(checked[name], kind) for name, kind in kinds.items())
        and re.fullmatch(RUN, checked["run"])
        and all(isinstance(text, str) for values in texts for text in values.values())
    ):
        raise ValueError("an entry has another type or form")
    if kinds is BEGINNING:
        datetime.fromisoformat(checked["started"]).astimezone()
    else:
        for number in (checked["seconds"], *checked["accuracy"].values()):
            math.isnan(number)  # raises where it is no number, or one that no float can hold
    return checked
