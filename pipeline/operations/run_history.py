"""Keep the history of runs: a line of JSON when a run begins, and one when it ends."""

from __future__ import annotations

import contextlib
import json
import math
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

BEGINNING = {"run": str, "root": str, "started": str, "process": int, "host": str}
END = {"run": str, "exit": str, "seconds": int | float, "stages": dict, "accuracy": dict}
"""The entries of the two lines of a run, with their types."""
OPTIONAL = {"keys", "settings"}
"""Entries that lines of earlier versions lack; each is a dict of texts, as ``stages`` is."""
LAST_BYTES = 1 << 18
"""Bytes at the end of the history that `last_settings` reads: a history of years would delay each run."""
MOST_NAMED = 4
"""Most results of a stage that a summary names one by one; of more, as a sweep makes, it has the number."""


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
        that have an accuracy). Damaged lines are skipped.
    """
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(FileNotFoundError):
        for entry in filter(None, map(_entry, _lines_from(path, start))):
            found.setdefault(entry["run"], {}).update(entry)
    return [{"exit": _exit_so_far(path.parent, run), **run} for run in found.values() if "root" in run]


def _exit_so_far(outputs: Path, run: dict[str, Any]) -> str:
    if "exit" in run:
        return str(run["exit"])
    return "running" if active_runs.is_under_way(outputs, run["run"]) else "killed"


def last_settings(path: Path) -> dict[str, str]:
    """Return the settings of the run that began last; an empty dict where they cannot be read."""
    with contextlib.suppress(OSError):
        for start in (max(0, path.stat().st_size - LAST_BYTES), 0):  # the last line of a long sweep may be longer
            for line in reversed(_lines_from(path, start)):
                if b'"root"' in line and (entry := _entry(line)):
                    return dict(entry.get("settings", {}))
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
        outcomes[name] = record.outcome(forced.run)
        if (measured := record.number("accuracy")) is not None:
            accuracy[name], keys[name] = measured, stage.key
    return {
        "exit": "failed" if "not made" in outcomes.values() else "ok",
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
    lines = [f"{len(summary['stages'])} stages in {summary['seconds']:.1f} s: {_counts(summary['stages'])}"]
    lines += [
        f"  {outcome}: {', '.join(_folded(groups[outcome]))}"
        for outcome in ("computed", "adopted", "not made")
        if outcome in groups
    ]
    lines += [f"  {name}: test accuracy {value:.4f}" for name, value in _few(summary["accuracy"]).items()]
    return lines


def _folded(names: list[str]) -> list[str]:
    """Replace the names of many results of a stage by their number: ``12 TrainCNN``."""
    counts = Counter(map(_stage_of, names))
    numbers = {stage: count for stage, count in counts.items() if count > MOST_NAMED}
    shown = (f"{numbers[stage]} {stage}" if (stage := _stage_of(name)) in numbers else name for name in names)
    return list(dict.fromkeys(shown))


def _few(accuracy: dict[str, float]) -> dict[str, float]:
    """Leave out the accuracies of stages with many results."""
    counts = Counter(map(_stage_of, accuracy))
    return {name: value for name, value in accuracy.items() if counts[_stage_of(name)] <= MOST_NAMED}


def _stage_of(name: str) -> str:
    """Return the name of a stage without the key that `summarise` adds."""
    return name.partition(" ")[0]


def history_table(runs: list[dict[str, Any]]) -> list[str]:
    """Return lines for people to read: one for each run, and one for each change since the run before."""
    header = f"{'STARTED':17} {'WHAT':14} {'TOOK':>9}  {'EXIT':8} STAGES"
    return [header, *(line for run in runs for line in _lines(run))]


def _lines(run: dict[str, Any]) -> list[str]:
    started = f"{datetime.fromisoformat(run['started']).astimezone():%Y-%m-%d %H:%M}"
    took = f"{run['seconds']:.1f} s" if "seconds" in run else ""
    accuracy = "".join(f"; {name} {value:.4f}" for name, value in _few(run.get("accuracy", {})).items())
    return [
        f"{started:17} {run['root']:14} {took:>9}  {run['exit']:8} {_counts(run.get('stages', {}))}{accuracy}",
        *(f"{'':18}{change_line(change)}" for change in run.get("changes", [])),
    ]


def _counts(stages: dict[str, str]) -> str:
    """Return the number of stages with each outcome, as ``2 computed, 9 reused``."""
    return ", ".join(f"{count} {outcome}" for outcome, count in Counter(stages.values()).items())


def _lines_from(path: Path, start: int) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        return file.read().splitlines()


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return the known entries of a line; None for an empty or damaged line."""
    with contextlib.suppress(ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return _checked(json.loads(line))
    return None


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the known entries of a line; raise an error where one is missing or has another type."""
    kinds = BEGINNING if "root" in entry else END
    checked = {name: entry[name] for name in kinds} | {name: entry[name] for name in OPTIONAL & entry.keys()}
    texts = [checked[name] for name in ({"stages"} | OPTIONAL) & checked.keys()]
    if not (
        all(isinstance(checked[name], kind) for name, kind in kinds.items())
        and re.fullmatch("[0-9a-f]{12}", checked["run"])
        and all(isinstance(text, str) for values in texts for text in values.values())
    ):
        raise ValueError("an entry has another type or form")
    if kinds is BEGINNING:
        datetime.fromisoformat(checked["started"]).astimezone()
    else:
        for number in (checked["seconds"], *checked["accuracy"].values()):
            math.isnan(number)  # raises where it is no number, or one that no float can hold
    return checked
