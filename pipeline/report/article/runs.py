"""Read the article's results: the test accuracies in its text, and the tables that its four runs printed."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.dataset import CIFAR_TITLE
from pipeline.files import loaded_sources
from pipeline.training.history import Epoch

TITLE, YEAR = "Faster deep learning with GPUs and Theano", 2015

RUNS_PATH = Path(__file__).with_name("runs.csv")

TEST_ACCURACY = {"mlp": 0.41, "cnn": 0.61}
"""Test accuracy of each network, from 0 to 1, in the article's text."""

HARDWARE = {"gpu": "GPU", "cpu32": "32 cores"}
"""Names of the hardware in ``runs.csv``, and in the report."""


@dataclass(frozen=True)
class Run:
    """A training of the article; ``hardware`` is ``GPU`` or ``32 cores``."""

    hardware: str
    epochs: tuple[Epoch, ...]

    @property
    def label(self) -> str:
        """Label of the run's curves."""
        return f"article, {self.hardware}"

    @property
    def epoch_seconds(self) -> float:
        """Median time of an epoch, training and validation together."""
        return statistics.median(row.seconds for row in self.epochs)

    @property
    def seconds(self) -> float:
        """Time of all epochs together."""
        return sum(row.seconds for row in self.epochs)

    def train_loss_difference(self, train_losses: Iterable[float]) -> float:
        """Return the mean absolute difference from the run's training losses, over the epochs that both have."""
        pairs = zip(train_losses, self.epochs, strict=False)
        return statistics.fmean(abs(loss - row.train_loss) for loss, row in pairs)


@dataclass(frozen=True)
class ArticleNetwork:
    """A network of the article: its test accuracy, and its runs on the GPU and on 32 CPU cores."""

    accuracy: float
    gpu: Run
    cpu: Run

    @property
    def runs(self) -> tuple[Run, Run]:
        """Both runs, the GPU's first."""
        return self.gpu, self.cpu


def _read_runs() -> dict[str, ArticleNetwork]:
    epochs: dict[tuple[str, str], list[Epoch]] = {}
    for row in csv.DictReader(loaded_sources.read_table(RUNS_PATH).splitlines()):
        losses = float(row["train_loss"]), float(row["valid_loss"])
        epoch = Epoch(int(row["epoch"]), *losses, float(row["valid_accuracy_percent"]) / 100, float(row["seconds"]))
        epochs.setdefault((row["network"], row["hardware"]), []).append(epoch)
    return {
        network: ArticleNetwork(accuracy, *(Run(name, tuple(epochs[network, key])) for key, name in HARDWARE.items()))
        for network, accuracy in TEST_ACCURACY.items()
    }


ARTICLE = _read_runs()
"""The article's networks, by their names in `pipeline.networks.declared`."""


def article_network(name: str, data_title: str) -> ArticleNetwork | None:
    """Return a network of the article; None if the article lacks it, or was trained on other data."""
    return ARTICLE.get(name) if data_title == CIFAR_TITLE else None
