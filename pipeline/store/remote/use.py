"""Know which results in a remote are in use: by registrations of runs, and a gate that keeps new runs waiting.

A run writes its registration and then looks at the gate; whoever removes results closes the gate and then looks at the
registrations. So one of the two sees the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.errors import RemoteError
from pipeline.store.remote.objects import Objects

GATE = "gate"
RUN_BYTES = 8 << 20
"""More than the registration of a run of 100,000 stages takes."""
PAUSE = 2.0
"""Seconds between two looks at the gate."""
ABANDONED = 120.0
"""Seconds without a sign of whoever closed the gate, after which it counts as open."""
DAY = 86_400
RENEWAL = 3600.0
"""Seconds between two renewals of a registration, which is old after a day: some may fail."""


class Registration:
    """Show other machines, while a run lasts, which records it needs; ``about`` describes the run.

    A thread renews the registration each hour, over a connection of its own from ``connect``. One that is older than a
    day belongs to a dead machine.
    """

    def __init__(
        self, connect: Callable[[], Objects], run: str, records: Iterable[str], about: Mapping[str, Any]
    ) -> None:
        self._connect, self._name = connect, f"runs/{run}"
        self._content = {"host": socket.gethostname(), **about, "needs": list(records)}
        self._has_ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew, daemon=True)

    def begin(self, objects: Objects) -> None:
        """Register the run."""
        self._write(objects)
        self._renewal.start()

    def end(self, objects: Objects) -> None:
        """Mark the run as ended; its registration stays, because its time is the last use of the results."""
        self._has_ended.set()
        self._renewal.join()
        self._content["ended"] = True
        self._write(objects)

    def _renew(self) -> None:
        while not self._has_ended.wait(RENEWAL):
            with contextlib.suppress(OSError, RemoteError):  # the next renewal comes before the registration is old
                self._write(self._connect())

    def _write(self, objects: Objects) -> None:
        objects.put(self._name, json.dumps(self._content).encode())


def under_way(objects: Objects) -> list[dict[str, Any]]:
    """Return the registrations of runs that have been renewed in the last day and not ended."""
    entries = objects.entries("runs")
    fresh = [name for name, entry in entries.items() if time.time() - entry.modified < DAY]
    found = map(_registration, objects.get(fresh, RUN_BYTES).values())
    return [about for about in found if not about.get("ended")]


def needed(objects: Objects, keep_days: float) -> set[str]:
    """Return the names of the records that a run under way needs, or that a run used in the last days.

    A run that was killed does not note its end: it counts as under way for a day after its last renewal.
    """
    names: set[str] = set()
    entries = objects.entries("runs")
    for name, content in objects.get(entries, RUN_BYTES).items():
        about, days = _registration(content), (time.time() - entries[name].modified) / DAY
        if days < keep_days or (days < 1 and not about.get("ended")):
            needs = about.get("needs")
            names.update(filter(lambda need: isinstance(need, str), needs if isinstance(needs, list) else []))
    return names


def outdated(objects: Objects, keep_days: float) -> list[str]:
    """Return the names of registrations that no longer matter."""
    now = time.time()
    return [name for name, entry in objects.entries("runs").items() if now - entry.modified > max(1, keep_days) * DAY]


def close(objects: Objects) -> None:
    """Close the gate, or show that whoever closed it is still at work."""
    about = f"process {os.getpid()} on {socket.gethostname()}, which removes unused results"
    objects.put(GATE, about.encode())


def open_again(objects: Objects) -> None:
    """Open the gate."""
    objects.delete([GATE])


def wait_until_open(objects: Objects, on_wait: Callable[[str], None]) -> None:
    """Wait while the gate is closed; ``on_wait`` receives the name of its holder once."""
    seen, since = objects.heads([GATE]).get(GATE), time.monotonic()
    if seen:
        on_wait((objects.get([GATE], 1000).get(GATE) or b"another machine").decode("utf-8", "replace"))
    while seen and time.monotonic() - since < ABANDONED:
        time.sleep(PAUSE)
        before, seen = seen, objects.heads([GATE]).get(GATE)
        since = since if seen == before else time.monotonic()


def _registration(content: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(content or b"{}")
    except (RecursionError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
