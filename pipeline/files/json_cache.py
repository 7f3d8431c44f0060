"""Keep JSON files that only save time: replace them as a whole, and read missing or damaged files as empty."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from pipeline.files.digests import json_digest
from pipeline.files.whole_file import replacing


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; return an empty object if the file is missing or damaged."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, RecursionError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read the values that `write_sealed` wrote; return an empty object if the file is missing or has changed."""
    content = read_json(path)
    values = content.get("values")
    with contextlib.suppress(RecursionError):
        if isinstance(values, dict) and content.get("seal") == json_digest(values):
            return values
    return {}


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """Replace a JSON file, with a digest that reveals damage; a file that cannot be written is no error."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"seal": json_digest(values), "values": values}))
