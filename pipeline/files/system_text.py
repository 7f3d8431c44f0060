"""Arguments and paths as text; the system has them as bytes."""

from __future__ import annotations

import os


def readable(text: str) -> str:
    r"""Return an argument or a path as text that UTF-8 can encode, with other bytes as escapes: ``\xff``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
