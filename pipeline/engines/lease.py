"""Lease a GPU: each process that computes on CUDA for long has one of its own.

A lease is a locked file with the GPU's UUID as its name. The kernel unlocks it when its owner ends, even if that is
killed. Runs that share the folder of these files share the GPUs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.engines.nvidia import VISIBLE
from pipeline.errors import NO_SPACE, DeviceError
from pipeline.files.locks import Lock
from pipeline.progress.monitor import Monitor

SECONDS_BETWEEN_TRIES = 0.5

_of_this_process: list[str] = []
"""The GPU that this process computes on; CUDA, once initialised in a process, stays with its GPU."""


@contextlib.contextmanager
def held(cards: Sequence[str], folder: Path, monitor: Monitor) -> Iterator[None]:
    """Lease one of some GPUs, after waiting for it, and let CUDA see it alone; do nothing where no GPU is named.

    Parameters
    ----------
    cards : sequence of str
        UUIDs of the GPUs, the preferred one first.
    folder : Path
        The folder of the locks, created if it is missing.
    monitor : Monitor
        Is told once if every GPU is leased.

    Raises
    ------
    DeviceError
        This process has leased another GPU before, or the folder cannot have locks of this process.
    """
    if not cards:
        yield
        return
    _check_stays(cards, "Take --workers 2, with which each stage has a process of its own.")
    locks = {card: Lock(folder / f"{card.replace('/', '-')}.lock") for card in _of_this_process or cards}
    with contextlib.ExitStack() as stack:
        with _explained():
            folder.mkdir(parents=True, exist_ok=True)
            _of_this_process[:] = [_take(locks, stack, monitor)]
        stack.enter_context(_variable(_of_this_process[0]))
        yield


def show(cards: Sequence[str]) -> None:
    """Let CUDA see some GPUs alone, in this order, for the rest of this process, without a lease.

    Raise `DeviceError` if this process has taken another GPU before. One of those GPUs that it has taken stays.
    """
    if not cards:
        return
    _check_stays(cards, "Begin another process, or restart the notebook's kernel.")
    if not _of_this_process:
        _of_this_process[:] = [cards[0]]
        os.environ[VISIBLE] = ",".join(cards)


def _check_stays(cards: Sequence[str], way_out: str) -> None:
    """Raise `DeviceError` if this process computes on another GPU than these."""
    if _of_this_process and _of_this_process[0] not in cards:
        raise DeviceError(
            f"the GPU to take is {' or '.join(cards)}, but this process has computed on {_of_this_process[0]}, which "
            f"CUDA cannot leave. {way_out}"
        )


def _take(locks: dict[str, Lock], stack: contextlib.ExitStack, monitor: Monitor) -> str:
    """Take a lock that is free, after waiting for one, and return its GPU; the stack releases it."""
    has_told = False
    while True:
        for card, lock in locks.items():
            with contextlib.ExitStack() as trial:
                if trial.enter_context(lock.tried()):
                    stack.push(trial.pop_all())
                    return card
        if not has_told:
            has_told = True
            holders = list(filter(None, (lock.holder() for lock in locks.values())))
            used_by = ", ".join(holders) or "another process"  # they may have ended in between
            monitor.log(f"waiting for {'a' if len(locks) > 1 else 'the'} GPU, used by {used_by}")
        time.sleep(SECONDS_BETWEEN_TRIES)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Raise `DeviceError` where the folder of the locks fails; a full disk is for the caller to explain."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise DeviceError(
            f"no GPU can be leased: {error.filename}: {error.strerror}. Name another folder for the leases, of your "
            "own and on a file system with locks: --cache-dir /var/tmp/mine."
        ) from None


@contextlib.contextmanager
def _variable(card: str) -> Iterator[None]:
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = card
    try:
        yield
    finally:
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before
