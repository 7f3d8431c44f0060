"""Colour for people: on a terminal alone, and not where ``NO_COLOR`` is set (https://no-color.org)."""

from __future__ import annotations

import os
import re
import sys

DIM, RED, GREEN, YELLOW, CYAN = 2, 31, 32, 33, 36
"""Numbers of ANSI's "select graphic rendition" (ECMA-48)."""

STATES = {
    "adopted": CYAN,
    "cached": DIM,
    "computed": GREEN,
    "failed": RED,
    "killed": RED,
    "not made": RED,
    "reused": DIM,
    "running": CYAN,
    "to run": YELLOW,
}
"""What becomes of a stage or a run, in the words that tables and messages have for it."""

_STATE = re.compile(rf"\b({'|'.join(STATES)})\b")


def highlighted(text: str) -> str:
    """Return lines for the standard output, with each state in its colour where that is a terminal."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return _STATE.sub(lambda found: f"\x1b[{STATES[found[0]]}m{found[0]}\x1b[0m", text)
