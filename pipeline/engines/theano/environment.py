"""The environment of the Theano engine: the article's own libraries on a Python that they run on.

`pipeline.engines.theano.setup` builds it. This module says where it is and whether it stands.
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
"""What Theano compiled, and what was said when something failed."""


def interpreter() -> Path:
    """Return the Python of the environment, whether it stands or not."""
    return ENVIRONMENT / "bin" / "python"


def is_ready() -> bool:
    """Tell whether the environment stands and is what the requirements and ``THEANO_PYTHON`` ask for."""
    try:
        built = json.loads(_marker().read_text())
        wanted = _description(os.environ.get("THEANO_PYTHON") or built["python"])
    except (OSError, ValueError, KeyError):
        return False
    return bool(built == wanted) and interpreter().exists()


def mark_ready(python: str) -> None:
    """Declare that the environment stands, made with the given Python."""
    _marker().write_text(json.dumps(_description(python)))


def versions() -> dict[str, str]:
    """Return the version of each library in the environment, by name."""
    return dict(re.findall(r"^([\w-]+)==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE))


def _description(python: str) -> dict[str, str]:
    return {
        "python": str(Path(shutil.which(python) or python).resolve()),
        "requirements": hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest(),
    }


def _marker() -> Path:
    return ENVIRONMENT / "built.json"
