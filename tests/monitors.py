"""The monitor that keeps what a stage reports."""

from __future__ import annotations

from pipeline.progress.monitor import Monitor


class RecordingMonitor(Monitor):
    """Keep each line in ``lines`` and each ``(done, total, unit)`` in ``steps``."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[float, float, str]] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def logged(self, words: str) -> bool:
        """Whether a line holds these words."""
        return any(words in line for line in self.lines)

    def progress(self, done: float, total: float, unit: str) -> None:
        self.steps.append((done, total, unit))
