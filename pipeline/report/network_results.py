"""What the stages left of one network."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.dataset import CIFAR_TITLE
from pipeline.errors import StoreError
from pipeline.networks.declaration import Network
from pipeline.networks.weights import WEIGHTS_NAME, Weights, read_weights
from pipeline.report.article.runs import ARTICLE, ArticleNetwork
from pipeline.store.record import Record
from pipeline.training.evaluate import METRICS_NAME, PREDICTIONS_NAME, read_predictions
from pipeline.training.history import HISTORY_NAME


def counted(count: int, noun: str) -> str:
    """Write a number of things: ``1 epoch``, ``50 epochs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def article_network(name: str, data_title: str) -> ArticleNetwork | None:
    """Return the article's figures of a network; None where the article lacks it or was not trained on this data."""
    return ARTICLE.get(name) if data_title == CIFAR_TITLE else None


@dataclass(frozen=True)
class NetworkResults:
    """A network that was trained and evaluated: its files in ``trained`` and ``evaluated``, and what they say."""

    name: str
    trained: Path
    evaluated: Path
    metrics: dict[str, Any]
    history: dict[str, Any]
    record: Record

    @classmethod
    def read(cls, name: str, trained: Path, evaluated: Path) -> NetworkResults:
        """Read the results of training and evaluating a network.

        Raises
        ------
        StoreError
            The training has no record.
        """
        record = Record.read(trained)
        if record is None:
            raise StoreError(f"{trained} has no record. Run `make verify`, then the same command again.")
        return cls(
            name,
            trained,
            evaluated,
            json.loads((evaluated / METRICS_NAME).read_text()),
            json.loads((trained / HISTORY_NAME).read_text()),
            record,
        )

    @property
    def title(self) -> str:
        """The network's name as people write it: ``CNN``."""
        return self.name.upper()

    @property
    def article(self) -> ArticleNetwork | None:
        """The article's figures of this network, where it was trained on the article's data."""
        return article_network(self.name, self.metrics["data"]["title"])

    @property
    def accuracy(self) -> float:
        """Fraction of the test images that are classified correctly."""
        return float(self.metrics["accuracy"])

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows of the history."""
        rows: list[dict[str, Any]] = self.history["epochs"]
        return rows

    @property
    def best_epoch(self) -> dict[str, Any]:
        """The row with the highest validation accuracy."""
        return max(self.epochs, key=lambda row: float(row["valid_accuracy"]))

    @property
    def epoch_seconds(self) -> float:
        """Median time of an epoch, training and validation together."""
        return float(statistics.median(self.record.measured["epoch_seconds"]))

    @property
    def training_seconds(self) -> float:
        """Time of all epochs together."""
        return float(sum(self.record.measured["epoch_seconds"]))

    @property
    def trained_with(self) -> str:
        """Engine and device, as ``numba on cpu (Intel Xeon), 2 threads``."""
        parameters, measured = self.record.parameters, self.record.measured
        threads = counted(measured["threads"], "thread")
        return f"{parameters['engine']} on {parameters['device']} ({measured['device_name']}), {threads}"

    @property
    def network(self) -> Network:
        """The network as it was declared, for the classes that it was trained on."""
        return Network.build(self.record.parameters["architecture"], len(self.history["data"]["class_names"]))

    def weights(self) -> Weights:
        """Read the trained weights."""
        return read_weights(self.trained / WEIGHTS_NAME, self.network)

    def probabilities(self) -> FloatArray:
        """Read the probabilities of the test images' classes, shape (N, classes)."""
        return read_predictions(self.evaluated / PREDICTIONS_NAME)
