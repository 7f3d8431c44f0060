"""Write the result of the last scheduled run: JSON for programs, metrics for Prometheus's node_exporter."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.files.json_cache import read_json
from pipeline.files.paths import readable
from pipeline.files.whole_file import write_text

STATUS_NAME = "status.json"
METRICS_NAME = "metrics.prom"
PREFIX = "faster_deep_learning"
OUTCOMES = ("computed", "adopted", "reused", "not made")


@dataclass(frozen=True)
class RunStatus:
    """The last scheduled run in an outputs folder; times are in ISO 8601.

    Parameters
    ----------
    state : {"running", "ok", "failed"}
    exit_status : int
        As in a shell: 128 and the signal's number for a run that was killed.
    stages : dict
        The outcome of each stage.
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
        """Stages by outcome."""
        found = Counter(self.stages.values())
        return {outcome: found[outcome] for outcome in OUTCOMES}

    def write(self, outputs: Path) -> None:
        """Replace the status file."""
        content = json.dumps(asdict(self) | {"counts": self.counts}, indent=1)
        write_text(outputs / STATUS_NAME, f"{content}\n", StoreError)

    def metrics(self, outputs: Path) -> str:
        """Return the figures of a run that has ended, labelled with its outputs folder: there may be several."""
        from prometheus_client import CollectorRegistry, Gauge, generate_latest  # importing it takes 50 ms

        registry, folder = CollectorRegistry(), readable(str(outputs.resolve()))

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, ("outputs", *labels), registry=registry)

        gauge("last_run_timestamp_seconds", "When the last run ended.").labels(folder).set(_seconds(self.ended))
        if self.last_success:
            success = gauge("last_success_timestamp_seconds", "When a run last ended without a failure.")
            success.labels(folder).set(_seconds(self.last_success))
        gauge("last_run_success", "1 if the last run did not fail, else 0.").labels(folder).set(self.state == "ok")
        gauge("last_run_duration_seconds", "How long the last run took.").labels(folder).set(self.seconds or 0.0)
        stages = gauge("last_run_stages", "Stages of the last run by outcome.", "outcome")
        for outcome, count in self.counts.items():
            stages.labels(folder, outcome.replace(" ", "_")).set(count)
        text = "Fraction of the test images that a network classifies right."
        accuracy = gauge("test_accuracy_ratio", text, "network")
        for network, value in self.accuracy.items():
            accuracy.labels(folder, network).set(value)
        return generate_latest(registry).decode()


def last_success(outputs: Path) -> str | None:
    """Return when a scheduled run last succeeded, from the status file."""
    moment = read_json(outputs / STATUS_NAME).get("last_success")
    return moment if isinstance(moment, str) else None


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0
