"""Why a stage would run: what is different from the result that it had last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.store import results
from pipeline.store.fingerprint import source_name
from pipeline.store.record import DAMAGED_NAME, Record
from pipeline.store.stage import Stage


def why(stage: Stage, latest: Path) -> list[str]:
    """Say why a stage would run, as ``learning_rate 0.005 -> 0.02``; an empty list where it would not."""
    if results.current(stage):
        return []
    record = Record.read(stage.path)
    if record:
        return record.problems(stage.path) or _inputs_made_again(stage, record)
    if damaged := Record.read(stage.path, DAMAGED_NAME):
        return damaged.altered(stage.path) or ["was withdrawn"]
    if stage.path.exists():
        return ["its record cannot be read"]
    previous = _previous(stage, latest)
    return list(_differences(previous, stage)) if previous else ["never run"]


def other_versions(stage: Stage, record: Record) -> list[str]:
    """Name the libraries with which a result was made, where today's versions are others."""
    return [
        f"made with {library} {version}, now {stage.versions[library]}"
        for library, version in record.versions.items()
        if stage.versions.get(library, version) != version
    ]


def _inputs_made_again(stage: Stage, record: Record) -> list[str]:
    reasons = []
    for name, source in stage.inputs.items():
        found = results.current(source)
        if found is None:
            reasons.append(f"input {source.name} is not there")
        elif found.content != record.inputs[name]["content"]:
            reasons.append(f"input {source.name} has other content")
    return reasons


def _previous(stage: Stage, latest: Path) -> Record | None:
    """Return the record of the result that was in use last, or else of the newest."""
    if record := Record.read(latest / stage.name):
        return record
    parent = stage.path.parent
    records = [Record.read(folder) for folder in parent.iterdir()] if parent.is_dir() else []
    return max(filter(None, records), key=lambda record: record.started, default=None)


def _differences(previous: Record, stage: Stage) -> Iterator[str]:
    yield from _changed_values(_flat(previous.parameters), _flat(stage.parameters))
    for module in sorted(previous.code.keys() | stage.code.keys()):
        if previous.code.get(module) != stage.code.get(module):
            yield f"code of {source_name(module)} {_what_happened(module, previous.code, stage.code)}"
    for name, source in stage.inputs.items():
        if previous.inputs.get(name, {}).get("key") != source.key:
            yield f"input {source.name} changed"
    if stage.versions_matter:
        yield from _changed_values(previous.versions, stage.versions)


def _what_happened(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    if name not in before:
        return "is used now"
    return "changed" if name in now else "is no longer used"


def _changed_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in [*before, *(name for name in now if name not in before)]:
        if before.get(name) != now.get(name):
            yield f"{name} {_shown(before, name)} -> {_shown(now, name)}"


def _shown(values: Mapping[str, Any], name: str) -> str:
    return str(values[name]) if name in values else "(none)"


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the entries of a parameter that is itself a mapping up among the others."""
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat
