"""Compare two results of a stage: what decided them, where they were made, what was measured, and their files."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.store.lookup import listed
from pipeline.store.reasons import ARROW, changed_code, changed_values, flat
from pipeline.store.record import FAILURE, Record, result_folders

NONE = "(none)"
"""A value or a failure that a result lacks."""

_Pair = tuple[Record, Record]
"""Two results of a stage."""


@dataclass(frozen=True)
class Difference:
    """What differs between two results of a stage; each part but the first two is empty where nothing does.

    Parameters
    ----------
    settings, code, versions, machine : list of str
        Differences of the two results, and of those upstream of them, behind the names of the stages that have them:
        ``TrainCNN: learning_rate 0.005 -> 0.02``.
    inputs : list of str
        The results upstream that have other keys or other content.
    failure : list of str
        The message of each result that failed, where it is another one: ``the loss is nan in epoch 1 -> (none)``.
    measured : dict
        The two values of each number; None where a result lacks it.
    files : list of str
        The names of the files that the two results do not both have with the same digest.
    """

    stage: str
    keys: tuple[str, str]
    settings: list[str]
    code: list[str]
    inputs: list[str]
    versions: list[str]
    machine: list[str]
    failure: list[str]
    measured: dict[str, tuple[float | None, float | None]]
    files: list[str]


def difference(
    before: Path, now: Path, folders: Sequence[Path], more: Callable[[Path], Mapping[str, float]]
) -> Difference:
    """Compare two results of a stage by their records.

    Parameters
    ----------
    folders : sequence of Path
        The folders that hold the results upstream.
    more : callable
        Returns numbers from the files of a result, which its record lacks.

    Raises
    ------
    StoreError
        The results are of different stages, or one has no record.
    """
    own = _records_of_one_stage(before, now, folders)
    inputs, pairs = _with_upstream(own, folders)
    digests = [{name: file["sha256"] for name, file in record.files.items()} for record in own]
    numbers = [_numbers(record) | dict(more(path)) for record, path in zip(own, (before, now), strict=True)]
    return Difference(
        stage=own[0].stage,
        keys=(own[0].key, own[1].key),
        settings=_told(pairs, lambda old, new: changed_values(flat(old.parameters), flat(new.parameters))),
        code=_told(pairs, lambda old, new: changed_code(old.code, new.code)),
        inputs=inputs,
        versions=_told(pairs, lambda old, new: changed_values(old.versions, new.versions)),
        machine=_told(pairs, lambda old, new: changed_values(_machine(old), _machine(new))),
        failure=_failure(*own),
        measured=_changed(*numbers),
        files=sorted(_changed(*digests)),
    )


def difference_lines(found: Difference) -> list[str]:
    """Return lines for people to read: what is compared, then a line for each difference, and one on the files."""
    before, now = found.keys
    if before == now:
        return [f"{found.stage} {now[:8]}: both are this result."]
    parts = {
        "settings": found.settings,
        "code": found.code,
        "inputs": found.inputs,
        "versions": found.versions,
        "machine": found.machine,
        "failure": found.failure,
        "measured": [_number_line(name, *values) for name, values in found.measured.items()],
        "files": [f"{', '.join(found.files)}: not equal"] if found.files else ["all equal"],
    }
    lines = [f"{found.stage} {before[:8]}{ARROW}{now[:8]}"]
    for part, texts in parts.items():
        lines += [f"  {part if text is texts[0] else '':9} {text}" for text in texts]
    return lines


def _records_of_one_stage(before: Path, now: Path, folders: Sequence[Path]) -> _Pair:
    if before.parent.name != now.parent.name:
        first, second = (f"{path.parent.name}/{path.name[:8]}" for path in (before, now))
        stages = (before.parent.name, now.parent.name)
        results = [path for folder in folders for path in result_folders(folder) if path.parent.name in stages]
        raise StoreError(
            f"{first} and {second} are results of different stages. Type `python -m pipeline diff` with two of "
            f"{' or two of '.join(stages)}:\n{listed(results)}"
        )
    return _record(before), _record(now)


def _record(path: Path) -> Record:
    if record := Record.read_any(path):
        return record
    raise StoreError(f"{path} has no record that can be read. Type `make verify`, which lists such results.")


def _with_upstream(own: _Pair, folders: Sequence[Path]) -> tuple[list[str], list[_Pair]]:
    """Describe the inputs that differ, and theirs; return also the pair itself and those of one stage upstream."""
    lines: dict[str, None] = {}
    pairs = [own]
    for old, new in pairs:  # which grows
        for name in dict.fromkeys([*old.inputs, *new.inputs]):
            before, now = old.inputs.get(name), new.inputs.get(name)
            if before == now or (line := _input_line(before, now)) in lines:
                continue
            lines[line] = None
            found = [_record_of(source, folders) for source in (before, now)]
            if found[0] and found[1] and found[0].stage == found[1].stage:
                pairs.append((found[0], found[1]))
    return list(lines), pairs


def _input_line(before: Mapping[str, str] | None, now: Mapping[str, str] | None) -> str:
    if before is None or now is None:
        return f"{_name(before or now or {})} is {'used now' if now else 'no longer used'}"
    content = "equal" if before["content"] == now["content"] else "other"
    if before["key"] == now["key"]:
        return f"{_name(now)} was made again, with other content"
    to = now["key"][:8] if before["stage"] == now["stage"] else _name(now)
    return f"{_name(before)}{ARROW}{to}, {content} content"


def _name(source: Mapping[str, str]) -> str:
    return f"{source['stage']} {source['key'][:8]}"


def _record_of(source: Mapping[str, str] | None, folders: Sequence[Path]) -> Record | None:
    """Return the record of an input; None where there is none, or the result has been removed."""
    paths = [folder / source["stage"] / source["key"] for folder in folders] if source else []
    return next(filter(None, map(Record.read_any, paths)), None)


def _told(pairs: Sequence[_Pair], texts: Callable[[Record, Record], Iterable[str]]) -> list[str]:
    """Return each difference once, behind the names of its stages, unless it is one of the compared results alone."""
    stages: dict[str, dict[str, None]] = {}
    for before, now in pairs:
        for text in texts(before, now):
            stages.setdefault(text, {})[now.stage] = None
    own = [pairs[0][1].stage]
    return [text if list(names) == own else f"{', '.join(names)}: {text}" for text, names in stages.items()]


def _machine(record: Record) -> dict[str, str]:
    """Return the host, and the texts that the stage's function returned, such as the name of the device."""
    return {"host": record.host} | {
        name: text for name, text in flat(record.measured).items() if isinstance(text, str) and name != FAILURE
    }


def _failure(before: Record, now: Record) -> list[str]:
    texts = [record.failure or NONE for record in (before, now)]
    return [] if texts[0] == texts[1] else [ARROW.join(texts)]


def _numbers(record: Record) -> dict[str, float]:
    """Return the numbers that were measured; of a list the median."""
    found: dict[str, float] = {"seconds": record.seconds}
    for name, value in flat(record.measured).items():
        if isinstance(value, int | float):
            found[name] = value
        elif isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
            found[f"median of {name}"] = statistics.median(value)
    return found


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values that differ; None where one is missing."""
    names = dict.fromkeys([*before, *now])
    return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _number_line(name: str, before: float | None, now: float | None) -> str:
    old, new = (NONE if value is None else f"{value:.6g}" for value in (before, now))
    rise = "" if before is None or now is None else f" ({now - before:+.4g})"
    return f"{name} {old}{ARROW}{new}{rise}"
