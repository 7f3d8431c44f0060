"""Trying again after a failure that may pass, each time after a longer pause."""

from __future__ import annotations

import time

from pipeline.progress.monitor import Monitor
from pipeline.web.connection import BrokenTransferError
from pipeline.web.urls import without_secrets

FIRST_PAUSE = 0.5
"""Seconds between the first two attempts; each further pause is twice as long."""


class Retries:
    """The attempts that one source has.

    Parameters
    ----------
    attempts : int
        How many there are, the first included.
    """

    def __init__(self, source: str, attempts: int) -> None:
        self._source = without_secrets(source)
        self._left = attempts
        self._pause = FIRST_PAUSE

    def wait_after(self, error: BrokenTransferError, monitor: Monitor) -> None:
        """Tell of a failed attempt and wait until it is time for the next one.

        Raises
        ------
        BrokenTransferError
            There is none left: the error of the last one.
        """
        self._left -= 1
        if self._left <= 0:
            raise error
        monitor.say(f"{self._source}: {error} Trying again in {self._pause:g} s; attempts left: {self._left}.")
        time.sleep(self._pause)
        self._pause *= 2
