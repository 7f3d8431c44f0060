"""How a stage tells whoever watches how far it is.

A stage function takes a `Monitor` and calls it; what becomes of the calls is the watcher's affair: a
terminal shows a bar, a log gets plain lines, Luigi's page a status, a notebook nothing.
"""

from __future__ import annotations


class Monitor:
    """Hears of a stage's progress and keeps silent; subclasses show it."""

    def say(self, line: str) -> None:
        """Tell something that should stay on record, such as a row of a table."""

    def progress(self, done: float, total: float, unit: str) -> None:
        """Tell that ``done`` of ``total`` units of work are behind us; may be called very often."""


SILENT = Monitor()
