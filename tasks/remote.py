"""The remote that the settings name."""

from __future__ import annotations

import functools

from pipeline.store.remote.shared import Remote
from tasks.luigi_adapter.console import warn_once
from tasks.settings import settings, store


def remote() -> Remote | None:
    """Return the remote; None where the settings name none. A process has one, which remembers whether it failed."""
    chosen = store.active()
    return _opened(chosen.remote, chosen.remote_mode == "readwrite") if chosen.remote else None


@functools.cache
def _opened(url: str, writes: bool) -> Remote:
    return Remote(url, writes=writes, warn=warn_once, memory=settings.active().cache("remotes.json"))
