"""Compare each run with the one before: the differences, and the change of the test accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.store import reasons
from pipeline.store.record import Record, upstream_records


def with_changes(runs: Sequence[dict[str, Any]], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return runs, with ``changes`` added to each run that differs from the one before.

    The records of the results are compared, where they are still in one of the folders. Each change is a dict:
    ``differences``, a list such as ``["learning_rate 0.015 -> 0.02"]``, and ``accuracy``, the rise in test accuracy of
    each network that they concern.
    """
    latest: dict[str, tuple[str, float]] = {}
    compared = []
    for run in runs:
        changes: dict[tuple[str, ...], dict[str, float]] = {}
        keys = run.get("keys", {})
        for stage, accuracy in run.get("accuracy", {}).items():
            if stage not in keys:
                continue
            before, accuracy_before = latest.get(stage, (keys[stage], accuracy))
            if differences := _differences(stage, before, keys[stage], folders):
                network = stage.removeprefix("Evaluate")
                changes.setdefault(tuple(differences), {})[network] = round(accuracy - accuracy_before, 6)
            latest[stage] = keys[stage], accuracy
        listed = [{"differences": list(differences), "accuracy": found} for differences, found in changes.items()]
        compared.append(run | ({"changes": listed} if listed else {}))
    return compared


def change_line(change: dict[str, Any]) -> str:
    """Return a change as ``learning_rate 0.015 -> 0.02: CNN +0.0195``."""
    accuracy = ", ".join(f"{network} {rise:+.4f}" for network, rise in change["accuracy"].items())
    return f"{reasons.folded(change['differences'])}: {accuracy}"


def _differences(stage: str, before: str, now: str, folders: Sequence[Path]) -> list[str]:
    """Compare two results of a stage, and all results upstream of them."""
    if before == now:
        return []
    stage = stage.partition(" ")[0]  # `run_history.summarise` adds a key where a run has a stage several times
    old, new = (_upstream(stage, key, folders) for key in (before, now))
    if not (stage in old and stage in new):
        return []
    found = [difference for name in new | old for difference in reasons.differences(old.get(name), new.get(name))]
    return list(dict.fromkeys(found))  # training and evaluation share parameters and definitions


def _upstream(stage: str, key: str, folders: Sequence[Path]) -> dict[str, Record]:
    """Return the records of a result and of all results upstream, by stage, in the order in which data flows."""
    records = upstream_records([folder / stage / key for folder in folders], folders)
    return {record.stage: record for record in reversed(records.values()) if record}
