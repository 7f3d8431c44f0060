"""Write the sections on the origin: the stages of the run, and how to reproduce the results."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pipeline.data.dataset import Description
from pipeline.files.digests import json_digest
from pipeline.report.graph import Box, draw
from pipeline.report.markup import Markup, Section, element, html_table, joined, scrolled
from pipeline.store.record import Record
from pipeline.web.urls import without_secrets

SHORT = 12
"""Digits of a digest that distinguish it from others."""

TIMEOUT = 5
"""Seconds that git may take."""


def pipeline_section(records: Mapping[Path, Record], run: str, direct: Collection[Path]) -> Section:
    """Draw the stages with their outcomes, and list them.

    Parameters
    ----------
    records : mapping of Path to Record
        The records of the results by folder, in the order in which data flows.
    run : str
        The id of the run.
    direct : collection of Path
        The folders of the results that the report itself reads.
    """
    boxes, rows = [], []
    for record in records.values():
        how, took = record.outcome(run), f"{record.seconds:.1f} s"
        inputs = tuple(source["stage"] for source in record.inputs.values())
        boxes.append(Box(record.stage, how, f"{how}, {took}", inputs))
        seconds = element("data", took, value=record.seconds)
        made = _moment(datetime.fromisoformat(record.started))
        rows.append([record.stage, how, seconds, made, element("code", record.key[:8])])
    read = tuple(record.stage for folder, record in records.items() if folder in direct)
    boxes.append(Box("Report", "computed", "this page", read))
    described = ", ".join(f"{box.name} {box.detail}" for box in boxes)
    drawn = draw(boxes, f"The stages, from the archive to this page: {described}")
    header = ["Stage", "In this run", "Took", "Made", "Key"]
    table = html_table("Stages", header, rows, numbers=["Took"], id="stages")
    note = element(
        "p",
        "These are the stages of the run of ",
        _moment(datetime.now(UTC)),
        ", which made this page. A reused result has the time of the run that computed it. "
        "A run with nothing to do leaves the page unchanged.",
    )
    beside = element("div", scrolled("The stages as a drawing", drawn), table, class_="beside")
    return Section("pipeline", "The pipeline", [note, beside])


def recipe_section(
    records: Collection[Record], data: Description, command: str, settings: Mapping[str, str]
) -> Section:
    """List the command, the changed settings, the code, the data and the libraries that reproduce the results."""
    changed = []
    for name, value in settings.items():
        section, _, key = name.partition(".")
        shown = without_secrets(" ".join(value.split()))
        changed.append(element("div", element("code", f"[{section}] {key} = {shown}")))
    libraries: set[str] = set()
    for record in records:
        libraries.update(_named(record.versions), _named(record.measured.get("versions", {})))
    facts = [
        ("Command", element("code", command) if command else ""),
        ("Settings that differ from the repository’s luigi.cfg", joined(changed)),
        ("Git commit", commit()),
        ("Data", f"{data.title}: {data.counts['train']:,} training and {data.counts['test']:,} test images"),
        ("Archive, SHA-256", element("code", data.archive_sha256)),
        ("Libraries", ", ".join(sorted(libraries))),
    ]
    details = [element("h3", "Every stage’s settings, code and content"), *map(_details, records)]
    return Section("recipe", "How to reproduce it", [_list(facts), *details])


def commit(folder: Path = Path(__file__).parents[2]) -> str | None:
    """Return the commit of a git checkout, by default of this one.

    ``1f0c... and uncommitted changes`` if files that decide results differ from it; None if the folder is no checkout
    or has no commit, or if git does not answer.
    """
    if not (folder / ".git").exists():  # git would take the commit of a folder above
        return None
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--"]
    command += ["pipeline", "tasks", "luigi.cfg"]  # the files that decide results
    others = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a git hook sets them
    try:
        done = subprocess.run(  # noqa: S603, no part of it is input
            command, cwd=folder, env=others, capture_output=True, timeout=TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    printed = done.stdout.decode(errors="replace")
    found = re.search("^# branch.oid ([0-9a-f]+)$", printed, re.MULTILINE)  # "(initial)" before the first commit
    if found is None:
        return None
    has_changes = re.search("^[^#]", printed, re.MULTILINE)
    return f"{found[1]} and uncommitted changes" if has_changes else found[1]


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
