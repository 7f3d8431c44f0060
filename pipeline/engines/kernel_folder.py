"""Find the kernels that the numba engine has compiled, without importing Numba, which takes half a second."""

from __future__ import annotations

import os
from pathlib import Path

LIST_NAME = "digests.json"
"""The list of a folder's files; the first process that compiles writes it."""


def root() -> Path:
    """Return ``NUMBA_CACHE_DIR`` if that is set, otherwise ``.cache/numba`` beside the package."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    return Path(chosen) if chosen else Path(__file__).parents[2] / ".cache" / "numba"


def has_kernels() -> bool:
    """Check whether any process has compiled kernels, perhaps those of another version."""
    return any(root().glob(f"kernels-*/{LIST_NAME}"))
