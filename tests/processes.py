"""The processes of this machine, as ``ps`` lists them."""

from __future__ import annotations

import subprocess
from typing import NamedTuple


class Process(NamedTuple):
    """A process that has not ended."""

    pid: int
    parent: int
    group: int
    arguments: str


def processes() -> list[Process]:
    """Return the processes that have not ended, with all their arguments: ``COLUMNS`` would cut them off."""
    command = ["ps", "-ww", "-eo", "pid=,ppid=,pgid=,stat=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=4) for line in listed.splitlines()]
    return [
        Process(int(pid), int(parent), int(group), arguments)
        for pid, parent, group, state, arguments in rows
        if not state.startswith("Z")
    ]
