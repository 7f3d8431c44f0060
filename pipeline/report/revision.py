"""Ask git for the commit of the code."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

TIMEOUT = 5
"""Seconds that git may take."""


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
