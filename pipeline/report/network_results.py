"""Read the results of training and evaluating a network."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.networks.declaration import Network
from pipeline.networks.weights import WEIGHTS_NAME, Weights, read_weights
from pipeline.report.article.runs import ArticleNetwork, article_network
from pipeline.store.record import Record
from pipeline.training.evaluate import METRICS_NAME
from pipeline.training.history import HISTORY_NAME, Epoch


def read_record(folder: Path) -> Record:
    """Read the record of a result; raise `StoreError` if it is missing or damaged."""
    record = Record.known(folder)
    if record is None:
        raise StoreError(f"{folder} has no record. Run `make verify`, then the same command again.")
    return record


@dataclass(frozen=True)
class NetworkResults:
    """The results of a network, from the folders of its training and its evaluation.

    Parameters
    ----------
    metrics : dict
        The content of ``metrics.json``.
    network : Network
        The declared network, with a unit for each class of its training.
    record : Record
        The record of the training.
    """

    name: str
    trained: Path
    evaluated: Path
    metrics: dict[str, Any]
    epochs: list[Epoch]
    network: Network
    record: Record

    @classmethod
    def read(cls, name: str, trained: Path, evaluated: Path) -> NetworkResults:
        """Read the results of a network; raise `StoreError` if the training has no record."""
        record = read_record(trained)
        metrics = json.loads((evaluated / METRICS_NAME).read_text())
        history = json.loads((trained / HISTORY_NAME).read_text())
        rows = zip(history["epochs"], record.measured["epoch_seconds"], strict=True)
        epochs = [Epoch(**row, seconds=seconds) for row, seconds in rows]
        network = Network.build(record.parameters["architecture"], len(history["data"]["class_names"]))
        return cls(name, trained, evaluated, metrics, epochs, network, record)

    @functools.cached_property
    def weights(self) -> Weights:
        """The trained weights; raises `WeightsError` where their file is damaged."""
        return read_weights(self.trained / WEIGHTS_NAME, self.network)

    @property
    def title(self) -> str:
        """The network's name in capitals: ``CNN``."""
        return self.name.upper()

    @property
    def article(self) -> ArticleNetwork | None:
        """The article's results of this network; None if it was trained on other data, or the article lacks it."""
        return article_network(self.name, self.metrics["data"]["title"])

    @property
    def accuracy(self) -> float:
        """Test accuracy, from 0 to 1."""
        return float(self.metrics["accuracy"])

    @property
    def training_seconds(self) -> float:
        """Time of all epochs together."""
        return sum(epoch.seconds for epoch in self.epochs)
