"""Put what came out beside what the article had."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.dataset import CIFAR_TITLE
from pipeline.errors import StoreError
from pipeline.evaluation import METRICS_NAME
from pipeline.monitor import Monitor
from pipeline.store.record import Record
from pipeline.training import HISTORY_NAME

REPORT_NAME = "report.md"


@dataclass(frozen=True)
class Published:
    """What the article says of a network: test accuracy, and seconds an epoch on its GPU and on 32 CPU cores."""

    accuracy: float
    gpu_seconds: float
    cpu_seconds: float


ARTICLE = {"mlp": Published(0.41, 0.5, 1.3), "cnn": Published(0.61, 12.8, 177.0)}
"""From "Faster deep learning with GPUs and Theano" (2015)."""


@dataclass(frozen=True)
class Trained:
    """What the stages left of one network."""

    name: str
    metrics: dict[str, Any]
    history: dict[str, Any]
    record: Record

    @classmethod
    def read(cls, name: str, trained: Path, evaluated: Path) -> Trained:
        """Read the results of training and evaluating a network."""
        record = Record.read(trained)
        if record is None:
            raise StoreError(f"{trained} has no record. Run `make verify`, then the same command again.")
        return cls(
            name,
            json.loads((evaluated / METRICS_NAME).read_text()),
            json.loads((trained / HISTORY_NAME).read_text()),
            record,
        )

    @property
    def epoch_seconds(self) -> float:
        """Median time of an epoch, training and validation together."""
        return float(statistics.median(self.record.measured["epoch_seconds"]))


def write(output: Path, *, monitor: Monitor, **results: Path) -> None:  # noqa: ARG001, every stage is handed one
    """Write ``report.md`` from the results of stages.

    Parameters
    ----------
    results : Path
        For each network ``trained_NAME`` and ``evaluated_NAME``, the folders of its results.
    """
    names = [key.removeprefix("trained_") for key in results if key.startswith("trained_")]
    networks = [Trained.read(name, results[f"trained_{name}"], results[f"evaluated_{name}"]) for name in names]
    text = "\n\n".join(
        [
            f"# {networks[0].metrics['data']['title']}, in grayscale",
            _comparison(networks),
            *(_network_section(network) for network in networks),
            _provenance(networks[0]),
        ]
    )
    (output / REPORT_NAME).write_text(text + "\n")


def _comparison(networks: list[Trained]) -> str:
    """Compare with the article, where the data is the article's."""
    is_cifar = networks[0].metrics["data"]["title"] == CIFAR_TITLE
    header = ["Network", "Test accuracy", "Seconds an epoch", "Device"]
    header += ["The article's accuracy", "Seconds on its GPU", "On its 32 CPU cores"] if is_cifar else []
    rows = [[*_own_figures(network), *(_articles_figures(network) if is_cifar else [])] for network in networks]
    return markdown_table(header, rows)


def _own_figures(network: Trained) -> list[str]:
    return [
        network.name.upper(),
        f"{network.metrics['accuracy']:.4f}",
        f"{network.epoch_seconds:.2f}",
        network.record.parameters["device"],
    ]


def _articles_figures(network: Trained) -> list[str]:
    article = ARTICLE[network.name]
    return [f"{article.accuracy:.2f}", f"{article.gpu_seconds:g}", f"{article.cpu_seconds:g}"]


def _network_section(network: Trained) -> str:
    epochs = [
        [
            str(row["epoch"]),
            f"{row['train_loss']:.5f}",
            f"{row['valid_loss']:.5f}",
            f"{row['valid_accuracy']:.4f}",
            f"{seconds:.2f}",
        ]
        for row, seconds in zip(network.history["epochs"], network.record.measured["epoch_seconds"], strict=True)
    ]
    how = ", ".join(f"{name} {value}" for name, value in network.history["trained"].items() if name != "network")
    classes = [
        [entry["name"], str(entry["images"]), _percent(entry["precision"]), _percent(entry["recall"])]
        for entry in network.metrics["classes"]
    ]
    return "\n\n".join(
        [
            f"## {network.name.upper()}",
            f"Trained with {how}.",
            markdown_table(["Epoch", "Train loss", "Valid loss", "Valid accuracy", "Seconds"], epochs),
            markdown_table(["Class", "Test images", "Precision", "Recall"], classes),
        ]
    )


def _provenance(network: Trained) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in network.record.versions.items())
    return f"Data: archive with SHA-256 `{network.metrics['data']['archive_sha256']}`. Versions: {versions}."


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Put rows of text under a header."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])
