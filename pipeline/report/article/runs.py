"""The article's figures: its text's test accuracies, and the tables that its four runs printed."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import loaded_sources

TITLE, YEAR = "Faster deep learning with GPUs and Theano", 2015

RUNS_PATH = Path(__file__).with_name("runs.csv")

TEST_ACCURACY = {"mlp": 0.41, "cnn": 0.61}
"""Fraction of the test images that each network classifies correctly, as the article's text prints it."""


@dataclass(frozen=True)
class Epoch:
    """A row of a table: losses and accuracy are means over images, ``valid_accuracy`` is from 0 to 1."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """A training of the article, with the row of each of its epochs; ``hardware`` is ``GPU`` or ``32 cores``."""

    hardware: str
    epochs: tuple[Epoch, ...]

    @property
    def label(self) -> str:
        """What a curve of the run is called in figures."""
        return f"article, {self.hardware}"

    @property
    def epoch_seconds(self) -> float:
        """Median time of an epoch, training and validation together."""
        return statistics.median(row.seconds for row in self.epochs)

    @property
    def seconds(self) -> float:
        """Time of all epochs together."""
        return sum(row.seconds for row in self.epochs)

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation accuracy."""
        return max(self.epochs, key=lambda row: row.valid_accuracy)

    def train_loss_difference(self, train_losses: Sequence[float]) -> float:
        """Return the mean absolute difference between training losses and the run's, over the epochs that both have.

        Parameters
        ----------
        train_losses : sequence of float
            The training loss of each epoch, from the first on; at least one.
        """
        pairs = zip(train_losses, self.epochs, strict=False)
        return statistics.fmean(abs(loss - row.train_loss) for loss, row in pairs)


@dataclass(frozen=True)
class ArticleNetwork:
    """A network of the article: its test accuracy, and its runs on the article's GPU and on its 32 CPU cores."""

    accuracy: float
    gpu: Run
    cpu: Run

    @property
    def runs(self) -> tuple[Run, Run]:
        """Both runs, the GPU's first."""
        return self.gpu, self.cpu


def _read_runs() -> dict[str, ArticleNetwork]:
    rows = list(csv.DictReader(loaded_sources.read_table(RUNS_PATH).splitlines()))
    return {
        network: ArticleNetwork(accuracy, _run(rows, network, "gpu", "GPU"), _run(rows, network, "cpu32", "32 cores"))
        for network, accuracy in TEST_ACCURACY.items()
    }


def _run(rows: Sequence[dict[str, str]], network: str, hardware: str, hardware_name: str) -> Run:
    epochs = [
        Epoch(
            int(row["epoch"]),
            float(row["train_loss"]),
            float(row["valid_loss"]),
            float(row["valid_accuracy_percent"]) / 100,
            float(row["seconds"]),
        )
        for row in rows
        if (row["network"], row["hardware"]) == (network, hardware)
    ]
    return Run(hardware_name, tuple(epochs))


ARTICLE = _read_runs()
"""The article's networks by the names that `pipeline.networks.declared` gives them."""
