"""Write how the parts ended, as soon as each of them ends."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from check_gpu.parts import Part
from check_gpu.processes import FAIL, NOT_RUN, PASS, Outcome


class Summary:
    """The summary of a check, printed, and written to ``summary.txt`` and ``results.jsonl`` of a folder."""

    def __init__(self, heading: str, folder: Path, parts: list[Part]) -> None:
        self._heading = heading
        self._folder = folder
        self._parts = parts
        self._outcomes: dict[str, Outcome] = {}
        (folder / "results.jsonl").write_text("")
        self._write()

    def add(self, outcome: Outcome) -> None:
        """Print and keep how a part ended."""
        self._outcomes[outcome.part.name] = outcome
        print(row(outcome), *map(figure_line, outcome.figures), sep="\n", flush=True)
        own = {"status": outcome.status, "seconds": round(outcome.seconds, 1), "note": outcome.note}
        with (self._folder / "results.jsonl").open("a") as file:
            for values in (own, *outcome.figures):
                file.write(json.dumps({"part": outcome.part.name, **values}) + "\n")
        self._write()

    @property
    def has_passed(self) -> bool:
        """Whether every part has passed, of one or more."""
        return bool(self._parts) and all(outcome.status == PASS for outcome in self._all())

    def verdict(self) -> str:
        """Return a row for each part, and how many ended how."""
        counts = Counter(outcome.status for outcome in self._all())
        total = ", ".join(f"{counts[status]} {status}" for status in (PASS, FAIL, NOT_RUN))
        return "\n".join([*map(row, self._all()), f"{'PASS' if self.has_passed else 'FAIL'}: {total}"])

    def _all(self) -> list[Outcome]:
        return [
            self._outcomes.get(part.name) or Outcome(part, NOT_RUN, 0, "the check ended before") for part in self._parts
        ]

    def _write(self) -> None:
        lines = [self._heading, "", self.verdict(), ""]
        for outcome in self._outcomes.values():
            lines += [outcome.part.name, *map(figure_line, outcome.figures)] if outcome.figures else []
        (self._folder / "summary.txt").write_text("\n".join(lines) + "\n")


def row(outcome: Outcome) -> str:
    """Write how a part ended."""
    return f"{outcome.status:8}{outcome.part.name:20}{outcome.seconds:6.1f} s  {outcome.note[:160]}".rstrip()


def figure_line(figure: dict[str, Any]) -> str:
    """Write a figure: its name, and each of its values."""
    values = ", ".join(f"{name} {value}" for name, value in figure.items() if name != "name")
    return f"          {figure['name']}: {values}"
