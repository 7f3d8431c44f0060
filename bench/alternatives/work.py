"""The work of every alternative, and its answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from measuring import shown
from pipeline.data.cifar import CLASS_NAMES
from pipeline.data.dataset import describe_dataset, open_dataset
from pipeline.engines.engine import Examples, Training
from pipeline.networks.arrays import FloatArray, LabelArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.declared import find_network
from pipeline.networks.weights import draw_weights
from pipeline.training.examples import read_examples

VALIDATES = 0.2
"""Part of the images that validate, as the networks declare it."""

PIECE = 1000
"""Random images that are drawn at once."""


class Scores(NamedTuple):
    """Mean loss over the training images, each before its minibatch's step; loss and accuracy over the others."""

    train_loss: float
    valid_loss: float
    valid_accuracy: float


Epoch = Callable[[], Scores]


@dataclass(frozen=True)
class Work:
    """A network to train, on images, with a number of threads."""

    name: str
    network: Network
    how: Hyperparameters
    train: Examples
    valid: Examples
    threads: int

    @classmethod
    def read(cls, name: str, images: int | None, batch_size: int | None, threads: int) -> Work:
        """Take a network as it is declared, on the data set or on a number of images."""
        architecture, how = find_network(name)
        network = Network.build(architecture, len(CLASS_NAMES))
        train, valid = _examples(network, images)
        return cls(name, network, how.replaced(batch_size=batch_size), train, valid, threads)

    def training(self) -> Training:
        """Return the training that an engine of the pipeline takes, from weights of the seed that is the default."""
        return Training(self.network, self.how, draw_weights(self.network, 42), self.train, self.valid)


def data_path(network: Network) -> Path:
    """Return the path at which ``make pipeline`` leaves the images of a network."""
    stage = "GrayscaleFlat" if len(network.input_shape) == 1 else "Grayscale2D"
    return shown.ROOT / "outputs" / "latest" / stage / "grayscale.h5"


def data_title(name: str) -> str:
    """Return the title of the images of a network here."""
    path = data_path(Network.build(find_network(name).architecture, len(CLASS_NAMES)))
    return describe_dataset(path).title if path.exists() else "random images"


def _examples(network: Network, images: int | None) -> tuple[Examples, Examples]:
    """Return images that train and images that validate; if too few are there, some come several times."""
    path = data_path(network)
    if images is None and path.exists():
        with open_dataset(path) as data:
            return read_examples(data, VALIDATES)
    images = images or 50_000
    pieces = _pieces_of(path) if path.exists() else _random_pieces(network)
    validate = round(images * VALIDATES)
    return _take(images - validate, network, pieces), _take(validate, network, pieces)


def _pieces_of(path: Path) -> Iterator[tuple[FloatArray, LabelArray]]:
    with open_dataset(path) as data:
        for _ in itertools.count():
            for _, images, labels in data.chunks("train"):
                yield images, labels


def _random_pieces(network: Network) -> Iterator[tuple[FloatArray, LabelArray]]:
    generator = np.random.default_rng(0)
    while True:
        images = generator.random((PIECE, *network.input_shape), np.float32) - np.float32(0.5)
        yield images, generator.integers(0, network.classes, PIECE, np.uint8)


def _take(count: int, network: Network, pieces: Iterator[tuple[FloatArray, LabelArray]]) -> Examples:
    examples = Examples(np.empty((count, *network.input_shape), np.float32), np.empty(count, np.uint8))
    filled = 0
    while filled < count:
        images, labels = next(pieces)
        size = min(len(labels), count - filled)
        examples.images[filled : filled + size] = images[:size]
        examples.labels[filled : filled + size] = labels[:size]
        filled += size
    return examples
