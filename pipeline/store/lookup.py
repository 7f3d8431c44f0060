"""Find a result by the first digits of its key, as people type it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store.record import Record, result_folders

LEAST_DIGITS = 4
"""Fewest digits of a key that name a result."""
LISTED = 8
"""Most results that a message lists."""

_KEY = re.compile("(?:([A-Z][^/]*)/)?([0-9a-f]{1,16})")


def is_key(text: str) -> bool:
    """Return whether a text is the beginning of a key, such as ``1a2b`` or ``TrainCNN/1a2b``."""
    return _KEY.fullmatch(text) is not None


def find_result(text: str, folders: Sequence[Path]) -> Path:
    """Return the folder of the one result whose key begins with ``DIGITS``, or with those of ``STAGE/DIGITS``.

    Raises
    ------
    StoreError
        No result has such a key, or several have.
    """
    found = _KEY.fullmatch(text)
    stage, digits = found.groups() if found else (None, "")
    if len(digits) < LEAST_DIGITS:
        raise StoreError(f"{text!r} is no key; expected at least {LEAST_DIGITS} of its digits, such as 1a2b.")
    results = [path for folder in folders for path in result_folders(folder)]
    of_stage = [path for path in results if stage in (None, path.parent.name)]
    fitting = [path for path in of_stage if path.name.startswith(digits)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise StoreError(
            f"{text!r} begins the keys of {len(fitting)} results. Type more digits, or STAGE/KEY:\n{listed(fitting)}"
        )
    if not results:
        raise StoreError(f"{' and '.join(map(str, folders))} have no results. Type `make pipeline`, which makes them.")
    raise StoreError(f"no result has the key {text!r}. The newest are:\n{listed(of_stage or results)}")


def listed(paths: Iterable[Path]) -> str:
    """Return a line for each result, ``STAGE/KEY`` and when it was made; of many the newest ones."""
    records = {path: Record.read_any(path) for path in paths}
    newest = sorted(((record.started if record else "", path) for path, record in records.items()), reverse=True)
    lines = [f"  {path.parent.name}/{path.name}  {_local(started)}" for started, path in newest[:LISTED]]
    more = [f"  and {len(newest) - LISTED} more"] if len(newest) > LISTED else []
    return "\n".join([*lines, *more])


def _local(started: str) -> str:
    return f"{datetime.fromisoformat(started).astimezone():%Y-%m-%d %H:%M}" if started else "(no record)"
