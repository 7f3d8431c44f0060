"""The interface through which a stage reports its progress.

A stage function calls the `Monitor` that it is given. A subclass shows the calls: as a bar on a terminal, as lines in a
log, as a status on Luigi's page.
"""

from __future__ import annotations


class Monitor:
    """Ignores reports; subclasses show them."""

    def log(self, line: str) -> None:
        """Print a line that stays, such as a row of a table."""

    def progress(self, done: float, total: float, unit: str) -> None:
        """Report that ``done`` of ``total`` units of work are done; may be called very often."""


SILENT = Monitor()
