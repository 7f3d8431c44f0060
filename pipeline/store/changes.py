"""What differed between a run and the one before it, and what that did to the test accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.store import reasons
from pipeline.store.record import Record


def add(runs: Sequence[dict[str, Any]], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Add ``changes`` to each run before which something had changed; ``folders`` hold the results.

    Returns
    -------
    list of dict
        ``changes`` is a list of dicts: ``differences``, a list such as ``["learning_rate 0.015 -> 0.02"]``, and
        ``accuracy``, by how much the test accuracy of each network rose that they concern. What is compared are the
        records of results that are still there.
    """
    latest: dict[str, tuple[str, float]] = {}
    told = []
    for run in runs:
        changes: dict[tuple[str, ...], dict[str, float]] = {}
        keys = run.get("keys", {})
        for stage, accuracy in run.get("accuracy", {}).items():
            if stage not in keys:
                continue
            before, accuracy_before = latest.get(stage, (keys[stage], accuracy))
            if differences := tuple(_differences(stage, before, keys[stage], folders)):
                network = stage.removeprefix("Evaluate")
                changes.setdefault(differences, {})[network] = round(accuracy - accuracy_before, 6)
            latest[stage] = keys[stage], accuracy
        listed = [{"differences": list(differences), "accuracy": found} for differences, found in changes.items()]
        told.append(run | ({"changes": listed} if listed else {}))
    return told


def line(change: dict[str, Any]) -> str:
    """Put a change into a line, as ``learning_rate 0.015 -> 0.02: CNN +0.0195``."""
    accuracy = ", ".join(f"{network} {rise:+.4f}" for network, rise in change["accuracy"].items())
    return f"{reasons.folded(change['differences'])}: {accuracy}"


def _differences(stage: str, before: str, now: str, folders: Sequence[Path]) -> Iterator[str]:
    """Compare two results of a stage, and all that they were made from."""
    if before == now:
        return
    stage = stage.partition(" ")[0]  # a key follows where a run has a stage with several settings
    old, new = (dict(_made_from(stage, key, folders)) for key in (before, now))
    if not (stage in old and stage in new):
        return
    seen = set()
    for name in [*new, *(name for name in old if name not in new)]:
        for difference in reasons.differences(old.get(name), new.get(name)):
            if difference not in seen:  # training and evaluation share parameters and modules
                seen.add(difference)
                yield difference


def _made_from(stage: str, key: str, folders: Sequence[Path]) -> Iterator[tuple[str, Record]]:
    """Yield the records of all that a result was made from, and its own, in the order in which data flows."""
    record = next(filter(None, (Record.read(folder / stage / key) for folder in folders)), None)
    if record:
        for source in record.inputs.values():
            yield from _made_from(source["stage"], source["key"], folders)
        yield stage, record
