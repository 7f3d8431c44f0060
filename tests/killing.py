"""Kill runs at random moments: the run itself, its worker, Theano's process, or all of them at once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from pathlib import Path

from tests.checkout import Checkout
from tests.processes import processes

KINDS = ("run", "worker", "theano", "all")


def kill(checkout: Checkout, *flags: str, kind: str, within: float, moments: random.Random) -> str:
    """Start a run, and kill processes of a kind before so many seconds are over; return what the run printed."""
    process = checkout.start(*flags)
    try:
        return process.communicate(timeout=moments.uniform(0.2, within))[0]
    except subprocess.TimeoutExpired:
        for victim in _victims(process.pid, kind):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(victim, signal.SIGKILL)
    return process.communicate(timeout=120)[0]


def at_work(folder: Path) -> list[str]:
    """Return the command lines of the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def _victims(run: int, kind: str) -> list[int]:
    """Return the processes of a kind, or the run where it has none of them."""
    listed = processes()
    parents = {process.pid: process.parent for process in listed}
    theano = {process.pid for process in listed if "child.process" in process.arguments}

    def is_below(pid: int) -> bool:
        return pid in parents and (parents[pid] == run or is_below(parents[pid]))

    below = [pid for pid in parents if is_below(pid)]
    chosen = {
        "run": [run],
        "worker": [pid for pid in below if parents[pid] == run and pid not in theano],
        "theano": [pid for pid in below if pid in theano],
        "all": [run, *below],
    }
    return chosen[kind] or [run]
