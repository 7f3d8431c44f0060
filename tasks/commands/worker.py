"""Help with runs that are under way on other machines: ``python -m pipeline worker``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import Any

from pipeline.errors import RemoteError, SettingError
from pipeline.store.remote.shared import PAUSE as PAUSE_OF_REMOTE
from pipeline.store.remote.shared import Remote
from tasks import shared_work
from tasks.luigi_adapter import interrupts, luigid
from tasks.remote import remote
from tasks.settings import settings

PAUSE = 5.0
"""Seconds between two looks for runs."""
FIRST_WAIT = 60.0
"""Seconds to wait for a first run: on a cluster all machines begin at the same time."""


def worker(options: argparse.Namespace) -> int:
    """Share each run under way until it ends; then end, or with ``forever`` wait for further ones.

    Each run is shared by a process of its own, with the run's settings. Return 1 if one of these failed.
    """
    shared = remote()
    if shared is None or not settings.active().luigid:
        raise SettingError(
            "a worker needs a luigid and a remote; expected both, as in "
            "`make worker SCHEDULER=node1:8082 REMOTE=s3://BUCKET/PREFIX`."
        )
    interrupts.end_cleanly()
    luigid.use(settings.active().luigid)
    scheduler = luigid.connect()
    shared_before: set[frozenset[str]] = set()  # of the runs that are still under way
    statuses: list[int] = []
    has_shared = False
    end_of_wait = time.monotonic() + FIRST_WAIT
    while True:
        under_way = _under_way(shared, scheduler, forever=options.forever)
        shared_before &= {run.needs for run in under_way}  # who begins the same run again wants help again
        runs = [run for run in under_way if run.needs not in shared_before]
        for run in runs:
            if run.needs not in shared_before:  # several machines register the same run
                shared_before.add(run.needs)
                statuses += _share(run)
        has_shared = has_shared or bool(runs)
        if not runs and not options.forever and (has_shared or time.monotonic() > end_of_wait):
            _print("Nothing is left to share." if has_shared else "Nobody has a run to share.")
            return 1 if any(statuses) else 0
        if not runs:
            time.sleep(PAUSE)


def _under_way(shared: Remote, scheduler: Any, *, forever: bool) -> list[shared_work.OtherRun]:
    """Return the runs under way; where the remote does not answer, raise `RemoteError`, or with ``forever`` wait."""
    while True:
        found = shared_work.other_runs(shared, luigid.workers(scheduler))
        if not shared.has_failed:
            return found
        if not forever:
            raise RemoteError(f"{shared.url} does not answer; without it a worker is of no use.")
        _print(f"{shared.url} does not answer. The worker asks it again in {PAUSE_OF_REMOTE / 60:.0f} minutes.")
        time.sleep(PAUSE_OF_REMOTE)


def _share(run: shared_work.OtherRun) -> list[int]:
    """Share a run until it ends, and return the exit status; none where it cannot be shared."""
    command = shared_work.command_of(run)
    if command is None:
        _print(f"{run.host}: a run of {run.task}, with settings that this checkout does not know. Update it.")
        return []
    _print(f"{run.host}: sharing a run of {run.task}")
    with subprocess.Popen([sys.executable, "-m", "tasks", *command]) as process:  # noqa: S603, the settings are checked
        try:
            return [process.wait()]
        except KeyboardInterrupt:
            process.terminate()  # it ends cleanly, and gives its stage back to luigid
            process.wait()  # Popen waits here only a quarter of a second after Ctrl-C
            raise


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201, the command's output
