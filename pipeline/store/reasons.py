"""Explain why a stage would run: the differences from the nearest result, which has the fewest differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.store import results
from pipeline.store.record import DAMAGED_NAME, FAILED_NAME, REMOTE_NAME, Record
from pipeline.store.stage import Stage

CODE = "code of "
"""The beginning of a reason that is a definition's code; there may be many of these."""
INPUT = "input "
"""The beginning of a reason that is an input."""
MOST_INPUTS = 2
"""Most changed inputs that a table names."""
ARROW = " -> "
LONG = 60
"""Most characters of a change that a table shows with its values."""


def reasons_to_run(stage: Stage, latest: Path) -> list[str]:
    """Return the reasons why a stage would run, as ``learning_rate 0.005 -> 0.02``; none where it would not."""
    if results.current(stage):
        return []
    if record := results.known_record(stage):
        return results.problems(stage, record) or _inputs_made_again(stage, record)
    if damaged := Record.read(stage.path, DAMAGED_NAME):
        return damaged.altered(stage.path) or ["was withdrawn"]
    if failed := Record.read(stage.path, FAILED_NAME):
        return [f"it failed: {failed.failure}"]
    if stage.path.exists():
        is_elsewhere = (stage.path / REMOTE_NAME).is_file()
        return ["its files are in a remote, and none is set" if is_elsewhere else "its record cannot be read"]
    return _differences_from_nearest(stage, latest) or ["never run"]


def folded(reasons: Sequence[str]) -> str:
    """Join reasons in one line: of many inputs the first one, of the code one definition if nothing else differs."""
    code = [reason for reason in reasons if reason.startswith(CODE)]
    inputs = [reason for reason in reasons if reason.startswith(INPUT)]
    others = [_shortened(reason) for reason in reasons if reason not in [*code, *inputs]]
    shown_inputs = inputs if len(inputs) <= MOST_INPUTS else inputs[:1]
    shown_code = [] if others or inputs else code[:1]
    more = [(len(inputs) - len(shown_inputs), "input"), (len(code) - len(shown_code), "definition")]
    folds = ", ".join(f"+{count} {noun}{'' if count == 1 else 's'}" for count, noun in more if count)
    return "; ".join([*others, *shown_inputs, *shown_code]) + (f" ({folds})" if folds else "")


def _shortened(reason: str) -> str:
    """Leave out values that would fill a line, as the layers of a network do."""
    is_long = len(reason) > LONG and ARROW in reason
    return f"{reason.partition(' ')[0]} changed" if is_long else reason


def differences(before: Record | None, now: Record | None) -> list[str]:
    """Name the parameters and the definitions in which two results of a stage differ; None has neither."""
    old, new = (flat(record.parameters) if record else {} for record in (before, now))
    code = (record.code if record else {} for record in (before, now))
    return [*changed_values(old, new), *changed_code(*code)]


def other_versions(stage: Stage, record: Record) -> list[str]:
    """Name the libraries that had another version when a result was made."""
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
            reasons.append(f"{INPUT}{source.name} is not there")
        elif found.content != record.inputs[name]["content"]:
            reasons.append(f"{INPUT}{source.name} has other content")
    return reasons


def _differences_from_nearest(stage: Stage, latest: Path) -> list[str]:
    """Return the fewest differences from a result; of equally many, those from the one in use last, or the newest."""
    parent = stage.path.parent
    in_use = (latest / stage.name).resolve()
    found = []
    for folder in parent.iterdir() if parent.is_dir() else ():
        if record := Record.known(folder):
            reasons = list(_differences_from(record, stage))
            found.append((-len(reasons), folder == in_use, record.started, reasons))
    return max(found)[-1] if found else []


def _differences_from(previous: Record, stage: Stage) -> Iterator[str]:
    yield from changed_values(flat(previous.parameters), flat(stage.parameters))
    for name, source in stage.inputs.items():
        yield from _difference_of_input(previous.inputs.get(name, {}), source)
    yield from changed_code(previous.code, stage.code)
    if stage.versions_matter:
        yield from changed_values(previous.versions, stage.versions)


def _difference_of_input(previous: Mapping[str, str], source: Stage) -> Iterator[str]:
    if previous.get("key") == source.key:
        return
    found = results.current(source)
    if found is None:
        yield f"{INPUT}{source.name} changed"
    elif found.content == previous.get("content"):
        yield f"{INPUT}{source.name} was made again with equal content"
    else:
        yield f"not yet run with {source.name} {source.key[:8]}"


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Name each definition whose digest differs, as ``code of pipeline.data.grayscale.grayscale changed``."""
    for definition in sorted(before.keys() | now.keys()):
        if before.get(definition) != now.get(definition):
            change = "changed" if definition in before else "is used now"
            yield f"{CODE}{definition} {change if definition in now else 'is no longer used'}"


def changed_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Name each value that differs, as ``learning_rate 0.005 -> 0.02``."""
    for name in [*before, *(name for name in now if name not in before)]:
        if before.get(name) != now.get(name):
            yield f"{name} {before.get(name, '(none)')}{ARROW}{now.get(name, '(none)')}"


def flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each parameter that is a dict by its entries, at any depth."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        found.update(flat(value) if isinstance(value, dict) else {name: value})
    return found
