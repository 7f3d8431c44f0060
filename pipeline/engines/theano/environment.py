"""Locate the environment that holds Theano, Lasagne and nolearn, and check whether it is built.

`pipeline.engines.theano.setup` builds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
REQUIREMENTS = PROJECT / "requirements" / "theano.txt"
ENVIRONMENT = PROJECT / ".venv-theano"
CACHE = PROJECT / ".cache" / "theano"
"""Folder of Theano's compiled modules and of the output of processes that failed."""


def interpreter() -> Path:
    """Return the path of the environment's Python, even if the environment is not built."""
    return ENVIRONMENT / "bin" / "python"


def is_ready() -> bool:
    """Check that the environment is built, with the current requirements and, if it is set, ``THEANO_PYTHON``."""
    try:
        built = json.loads(_marker().read_text())
        wanted = _description(os.environ.get("THEANO_PYTHON") or built["python"])
    except (OSError, ValueError, KeyError):
        return False
    return bool(built == wanted) and interpreter().exists()


def mark_ready(python: str) -> None:
    """Mark the environment as built with the given Python."""
    _marker().write_text(json.dumps(_description(python)))


def versions() -> dict[str, str]:
    """Return the version of each library in the environment, by the library's name."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE))


def _description(python: str) -> dict[str, str]:
    return {
        "python": str(Path(shutil.which(python) or python).resolve()),
        "requirements": hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest(),
    }


def _marker() -> Path:
    return ENVIRONMENT / "built.json"
