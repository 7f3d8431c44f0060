"""Small JSON files that only save time: replaced as a whole, and read as empty where they are no use."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from pipeline.files.digests import json_digest
from pipeline.files.whole_file import replacing


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is none that can be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, RecursionError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote; an empty object where it is no longer that."""
    content = read_json(path)
    values = content.get("values")
    with contextlib.suppress(RecursionError):
        if isinstance(values, dict) and content.get("seal") == json_digest(values):
            return values
    return {}


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """Replace a JSON file, with a digest by which damage shows; where that fails, what it would save is done again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"seal": json_digest(values), "values": values}))
