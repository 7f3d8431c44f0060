"""Check the records that come from a remote, before anything uses or shows what they say."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.files.digests import json_digest
from pipeline.store.record import NAMES, Record, parsed
from pipeline.store.stage import Stage

KEY = "[0-9a-f]{16}"
DIGEST = "[0-9a-f]{64}"
LONGEST_NAME = 255
"""Most bytes in the name of a file, on all usual file systems."""

KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("stage", "key", "content_key", "content", "started", "run", "host"), str),
    **dict.fromkeys(("parameters", "code", "inputs", "files", "versions", "measured"), dict),
    "seconds": (int, float),
}
"""Types of a record's entries."""


def record_of(content: bytes | None) -> Record | None:
    """Return the record that is the content of an object; None where it says what no record says."""
    record = parsed(content) if content else None
    return record if record and _is_well_formed(record) else None


def fault_of_key(record: Record, stage: Stage) -> str | None:
    """Return what is wrong with the record that should be that of a stage's key; None for a right one."""
    if (record.stage, record.key) != (stage.name, stage.key):
        return "is the record of another result"
    keys = {name: (source["stage"], source["key"]) for name, source in record.inputs.items()}
    contents = {name: source["content"] for name, source in record.inputs.items()}
    expected = {name: (source.name, source.key) for name, source in stage.inputs.items()}
    is_right = keys == expected and record.content_key == stage.content_key(contents)
    return None if is_right else "has other inputs than its key"


def fault_of_content(record: Record, stage: Stage) -> str | None:
    """Return what is wrong with a record that should be of a stage's parameters and code; None for a right one."""
    if json_digest(record.parameters) != json_digest(dict(stage.parameters)) or record.code != stage.code:
        return "has other parameters or code than its key"
    return fault_of_outcome(record)


def fault_of_outcome(record: Record) -> str | None:
    """Return what is wrong with the files or the failure that a record names; None where both can be true."""
    if record.failure is None:
        return _fault_of_files(record.files, record.content)
    is_failure = not record.files and record.content == json_digest(record.measured)
    return None if is_failure else "is not the record of a failure"


def _fault_of_files(files: Mapping[str, Any], content: str) -> str | None:
    """Return what is wrong with the files that a record names; None where each can be a file of a result."""
    for name, file in files.items():
        is_name = Path(name).name == name and name.isprintable() and len(name.encode()) <= LONGEST_NAME
        if not is_name or name.startswith(".") or name in NAMES:
            return f"names a file {name!r}"
        size, digest = (file.get("bytes"), file.get("sha256")) if isinstance(file, dict) else (None, None)
        if type(size) is not int or size < 0 or not re.fullmatch(DIGEST, str(digest)):
            return f"has no size and digest for {name}"
    is_right = content == json_digest({name: file["sha256"] for name, file in files.items()})
    return None if is_right else "has other files than its digest"


def _is_well_formed(record: Record) -> bool:
    """Return whether what a record says has the types that it should have, and can be shown on a terminal."""
    if not all(isinstance(getattr(record, name), kind) for name, kind in KINDS.items()):
        return False
    sources = list(record.inputs.values())
    if not all(isinstance(source, dict) for source in sources):
        return False
    texts: list[object] = [record.run, record.host, record.failure or "", *record.versions, *record.versions.values()]
    texts += [source.get(name) for source in sources for name in ("stage", "key", "content")]
    return (
        all(isinstance(text, str) and text.isprintable() for text in texts)
        and _is_time(record.started)
        and 0 <= record.seconds < math.inf
        and re.fullmatch(KEY, str(record.adopted_from or record.key)) is not None
    )


def _is_time(text: str) -> bool:
    with contextlib.suppress(OverflowError, ValueError):
        datetime.fromisoformat(text).astimezone()
        return True
    return False
