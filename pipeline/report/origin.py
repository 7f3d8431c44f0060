"""Write the sections on the origin: the stages of the run, and how to reproduce the results."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.data.dataset import Description
from pipeline.files.digests import json_digest
from pipeline.report.graph import Box, draw
from pipeline.report.markup import Markup, Section, element, html_table, joined, scrolled
from pipeline.report.network_results import read_record
from pipeline.store.record import Record
from pipeline.store.results import Outcome, outcome
from pipeline.web.urls import without_secrets

SHORT = 12
"""Digits of a digest that distinguish it from others."""


@dataclass(frozen=True)
class Step:
    """A stage of the run: the folder of its result, its record, and whether the run computed or reused it."""

    folder: Path
    record: Record
    outcome: Outcome


def read_steps(results: Iterable[Path], run: str) -> list[Step]:
    """Read the records of results; raise `StoreError` if a result has none."""
    return [Step(folder, record := read_record(folder), outcome(record, run)) for folder in results]


def pipeline_section(steps: Sequence[Step], direct: Collection[Path], now: datetime) -> Section:
    """Draw the stages with their outcomes, and list them; ``direct`` are the folders that the report itself reads."""
    note = element(
        "p",
        "These are the stages of the run of ",
        _moment(now),
        ", which made this page. A reused result has the time of the run that computed it. "
        "A run with nothing to do leaves the page unchanged.",
    )
    boxes = []
    for step in steps:
        inputs = tuple(source["stage"] for source in step.record.inputs.values())
        boxes.append(Box(step.record.stage, step.outcome, f"{step.outcome}, {step.record.seconds:.1f} s", inputs))
    read = tuple(step.record.stage for step in steps if step.folder in direct)
    boxes.append(Box("Report", "computed", "this page", read))
    described = ", ".join(f"{box.name} {box.detail}" for box in boxes)
    drawn = draw(boxes, f"The stages, from the archive to this page: {described}")
    header = ["Stage", "In this run", "Took", "Made", "Key"]
    table = html_table("Stages", header, map(_row, steps), numbers=["Took"], id="stages")
    beside = element("div", scrolled("The stages as a drawing", drawn), table, class_="beside")
    return Section("pipeline", "The pipeline", [note, beside])


def _row(step: Step) -> list[object]:
    record = step.record
    return [
        record.stage,
        step.outcome,
        element("data", f"{record.seconds:.1f} s", value=record.seconds),
        _moment(datetime.fromisoformat(record.started)),
        element("code", record.key[:8]),
    ]


def recipe_section(
    steps: Sequence[Step], data: Description, command: str, settings: Mapping[str, str], commit: str | None
) -> Section:
    """List the command, the settings, the code, the data and the libraries that reproduce the results.

    Parameters
    ----------
    settings : mapping of str to str
        Settings that differ from the luigi.cfg of the code, by ``SECTION.NAME``.
    commit : str or None
        The result of `revision.commit`.
    """
    changed = []
    for name, value in settings.items():
        section, _, key = name.partition(".")
        shown = without_secrets(" ".join(value.split()))
        changed.append(element("div", element("code", f"[{section}] {key} = {shown}")))
    libraries: set[str] = set()
    for step in steps:
        libraries.update(_named(step.record.versions), _named(step.record.measured.get("versions", {})))
    facts = [
        ("Command", element("code", command) if command else ""),
        ("Settings that differ from the repository’s luigi.cfg", joined(changed)),
        ("Git commit", commit),
        ("Data", f"{data.title}: {data.counts['train']:,} training and {data.counts['test']:,} test images"),
        ("Archive, SHA-256", element("code", data.archive_sha256)),
        ("Libraries", ", ".join(sorted(libraries))),
    ]
    details = [element("h3", "Every stage’s settings, code and content"), *(_details(step.record) for step in steps)]
    return Section("recipe", "How to reproduce it", [_list(facts), *details])


def _named(versions: Mapping[str, str]) -> list[str]:
    return [f"{name} {version}" for name, version in versions.items()]


def _details(record: Record) -> Markup:
    facts = [
        *record.parameters.items(),
        *((name, value) for name, value in record.measured.items() if name != "epoch_seconds"),
        ("key", element("code", record.key)),
        ("content", element("code", record.content[:SHORT])),
        ("inputs", ", ".join(f"{source['stage']} {source['content'][:SHORT]}" for source in record.inputs.values())),
        ("code", f"{len(record.code)} definitions, {json_digest(record.code)[:SHORT]}" if record.code else ""),
        ("libraries", ", ".join(_named(record.versions))),
    ]
    return element("details", element("summary", record.stage), _list(facts))


def _list(facts: Iterable[tuple[str, object]]) -> Markup:
    """List facts by name, those with parts in JSON; empty ones are left out."""
    rows = []
    for name, value in facts:
        if value not in ("", None, [], {}):
            shown = element("code", json.dumps(value)) if isinstance(value, dict | list) else value
            rows.append(element("div", element("dt", name), element("dd", shown)))
    return element("dl", *rows)


def _moment(moment: datetime) -> Markup:
    universal = moment.astimezone(UTC)
    return element("time", f"{universal:%Y-%m-%d %H:%M} UTC", datetime=universal.isoformat(timespec="seconds"))
