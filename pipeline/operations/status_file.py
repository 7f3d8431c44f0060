"""What became of the last scheduled run: a JSON file for programs, and Prometheus's text format for its node_exporter.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.files.json_cache import read_json
from pipeline.files.system_text import readable
from pipeline.files.whole_file import write_text

STATUS_NAME = "status.json"
METRICS_NAME = "metrics.prom"
PREFIX = "faster_deep_learning"
OUTCOMES = ("computed", "adopted", "reused", "not made")


@dataclass(frozen=True)
class RunStatus:
    """The last scheduled run of an outputs folder.

    Parameters
    ----------
    state : {"running", "ok", "failed"}
    started, ended, last_success : str
        Times in ISO 8601, or None.
    seconds : float
    exit_status : int
        As a shell has it: 128 and the signal's number for a run that was killed.
    stages : dict
        What became of each: computed, adopted, reused or not made.
    accuracy : dict
        Test accuracy by network.
    message : str
        Why the run failed.
    """

    state: str
    run: str
    process: int
    host: str
    log: str
    started: str
    last_success: str | None = None
    ended: str | None = None
    seconds: float | None = None
    exit_status: int | None = None
    stages: dict[str, str] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    message: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many stages came to each outcome."""
        found = Counter(self.stages.values())
        return {outcome: found[outcome] for outcome in OUTCOMES}

    def write(self, outputs: Path) -> None:
        """Replace the status file."""
        content = json.dumps(asdict(self) | {"counts": self.counts}, indent=1)
        write_text(outputs / STATUS_NAME, f"{content}\n", StoreError)

    def metrics(self, outputs: Path) -> str:
        """Return the figures of a run that has ended; each carries the outputs folder, so that several may be told."""
        return "".join(f"{line}\n" for line in self._metric_lines({"outputs": readable(str(outputs.resolve()))}))

    def _metric_lines(self, labels: dict[str, str]) -> Iterator[str]:
        yield from _gauge("last_run_timestamp_seconds", "When the last run ended.", [(labels, _seconds(self.ended))])
        success = [(labels, _seconds(self.last_success))] if self.last_success else []
        yield from _gauge("last_success_timestamp_seconds", "When a run last ended without a failure.", success)
        yield from _gauge("last_run_success", "1 if the last run was without a failure, else 0.", [(labels, self._ok)])
        yield from _gauge("last_run_duration_seconds", "How long the last run took.", [(labels, self.seconds or 0.0)])
        stages = [({**labels, "outcome": name.replace(" ", "_")}, count) for name, count in self.counts.items()]
        yield from _gauge("last_run_stages", "Stages of the last run by what became of them.", stages)
        accuracy = [({**labels, "network": name}, value) for name, value in self.accuracy.items()]
        yield from _gauge("test_accuracy_ratio", "Part of the test images that a network tells right.", accuracy)

    @property
    def _ok(self) -> int:
        return int(self.state == "ok")


def last_success(outputs: Path) -> str | None:
    """Say when a scheduled run last ended well, as its status file has it."""
    moment = read_json(outputs / STATUS_NAME).get("last_success")
    return moment if isinstance(moment, str) else None


def _gauge(name: str, text: str, samples: list[tuple[dict[str, str], Any]]) -> Iterator[str]:
    if samples:
        yield f"# HELP {PREFIX}_{name} {text}"
        yield f"# TYPE {PREFIX}_{name} gauge"
    for labels, value in samples:
        told = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        yield f"{PREFIX}_{name}{{{told}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0
