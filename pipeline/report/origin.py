"""Where the results come from: the stages of the run, and what it takes to make them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.data.dataset import Description
from pipeline.errors import StoreError
from pipeline.files.digests import json_digest
from pipeline.report.graph import Box, draw
from pipeline.report.markup import Markup, element, joined, scrolled, table
from pipeline.report.page import Section, section
from pipeline.store import results
from pipeline.store.record import Record
from pipeline.store.stage import Stage
from pipeline.web.urls import without_secrets

SHORT = 12
"""Digits of a digest that are enough to tell it from others."""


@dataclass(frozen=True)
class Step:
    """A stage, the record of its result, and how it came to that in the run."""

    stage: Stage
    record: Record
    outcome: results.Outcome


def steps(sources: Iterable[Stage], run: str) -> list[Step]:
    """List stages and all that they need, each once, in the order in which data flows.

    Raises
    ------
    StoreError
        One of them has no result.
    """
    return [_step(stage, run) for stage in results.upstream(*sources)]


def _step(stage: Stage, run: str) -> Step:
    record = Record.read(stage.path)
    if record is None:
        raise StoreError(f"{stage.name} has no result at {stage.path}. Run the same command again.")
    return Step(stage, record, results.outcome(record, run))


def pipeline(taken: Sequence[Step], direct: Iterable[Stage], now: datetime) -> Section:
    """Draw the stages with what became of each, and list them."""
    boxes = [
        Box(
            step.stage.name,
            step.outcome,
            f"{step.outcome}, {step.record.seconds:.1f} s",
            tuple(source.name for source in step.stage.inputs.values()),
        )
        for step in taken
    ]
    boxes.append(Box("Report", "computed", "this page", tuple(stage.name for stage in direct)))
    rows = [
        [
            step.stage.name,
            step.outcome,
            element("data", f"{step.record.seconds:.1f} s", value=step.record.seconds),
            _moment(datetime.fromisoformat(step.record.started)),
            element("code", step.record.key[:8]),
        ]
        for step in taken
    ]
    note = element(
        "p",
        "As of the run of ",
        _moment(now),
        ", which made this page. What was reused took its time in an earlier run. "
        "A run with nothing to do leaves the page as it is.",
    )
    drawn = draw(
        boxes, "The stages, from the archive to this page: " + ", ".join(f"{box.name} {box.detail}" for box in boxes)
    )
    return section(
        "pipeline",
        "The pipeline",
        note,
        element(
            "div",
            scrolled("The stages as a drawing", drawn),
            table("Stages", ["Stage", "In this run", "Took", "Made", "Key"], rows, numbers=["Took"], id="stages"),
            class_="beside",
        ),
    )


def recipe(
    taken: Sequence[Step], data: Description, command: str, settings: Mapping[str, str], commit: str | None
) -> Section:
    """Tell what it takes to make the results again.

    Parameters
    ----------
    settings : mapping of str to str
        Those that differ from the luigi.cfg of the code, by ``SECTION.NAME``.
    commit : str or None
        What the code is of, as `revision.commit` returns it.
    """
    versions = _merged(step.record.versions for step in taken)
    versions |= _merged(step.record.measured.get("versions", {}) for step in taken)
    changed = joined(_setting(name, value) for name, value in settings.items())
    facts: list[tuple[str, object]] = [
        ("Command", element("code", command) if command else ""),
        ("Settings that differ from the repository’s luigi.cfg", changed),
        ("Git commit", commit or ""),
        ("Data", f"{data.title}: {data.counts['train']:,} training and {data.counts['test']:,} test images"),
        ("Archive, SHA-256", element("code", data.archive_sha256)),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))),
    ]
    return section(
        "recipe",
        "To make it again",
        _list(facts),
        element("h3", "Every stage’s settings, code and content"),
        *map(_details, taken),
    )


def _details(step: Step) -> Markup:
    record = step.record
    facts: list[tuple[str, object]] = [
        *((name, _written(value)) for name, value in record.parameters.items()),
        *((name, _written(value)) for name, value in record.measured.items() if name != "epoch_seconds"),
        ("key", element("code", record.key)),
        ("content", element("code", record.content[:SHORT])),
        ("inputs", ", ".join(f"{source['stage']} {source['content'][:SHORT]}" for source in record.inputs.values())),
        ("code", f"{len(record.code)} modules, {json_digest(record.code)[:SHORT]}" if record.code else ""),
        ("libraries", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
    ]
    return element("details", element("summary", step.stage.name), _list(facts))


def _setting(name: str, value: str) -> Markup:
    section_name, _, key = name.partition(".")
    shown = without_secrets(" ".join(value.split()))
    return element("div", element("code", f"[{section_name}] {key} = {shown}"))


def _list(facts: Iterable[tuple[str, object]]) -> Markup:
    """List facts by name, but for those that are empty."""
    shown = [(name, value) for name, value in facts if value not in ("", None)]
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in shown))


def _written(value: object) -> object:
    if isinstance(value, dict | list):
        return element("code", json.dumps(value)) if value else ""
    return value


def _merged(several: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {name: version for versions in several for name, version in versions.items()}


def _moment(moment: datetime) -> Markup:
    universal = moment.astimezone(UTC)
    return element("time", f"{universal:%Y-%m-%d %H:%M} UTC", datetime=universal.isoformat(timespec="seconds"))
