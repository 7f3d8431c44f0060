"""Text that the system has as bytes: arguments and paths."""

from __future__ import annotations

import os


def readable(text: str) -> str:
    r"""Return an argument or a path as text that can be written as UTF-8: other bytes are escapes such as ``\xff``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
