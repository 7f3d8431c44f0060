"""Classify pictures with a trained network.

::

    from pipeline.inference.prediction import latest_classifier

    classifier = latest_classifier("cnn")
    print(classifier.predict("dog.png"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.grayscale import grayscale
from pipeline.engines import devices, lease
from pipeline.engines.engine import load_engine
from pipeline.errors import PictureError
from pipeline.inference.pictures import read_picture
from pipeline.inference.trained_network import TrainedNetwork, read_latest_network
from pipeline.networks.arrays import ByteArray, FloatArray

PICTURES_AT_ONCE = 256
"""Pictures that memory holds at a time, each scaled to the size of the network's input."""


class Guess(NamedTuple):
    """A class and its probability."""

    class_name: str
    probability: float

    def __str__(self) -> str:
        return f"{self.class_name} {self.probability:.3f}"


@dataclass(frozen=True)
class Prediction:
    """A network's prediction for a picture: a guess for each class, the most probable first."""

    picture: str
    guesses: list[Guess]

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return self.guesses[0].class_name

    def __str__(self) -> str:
        return f"{self.picture}: {self.guesses[0]}"

    def to_json(self, top: int | None = None) -> dict[str, Any]:
        """Return the prediction in JSON's types, with the ``top`` most probable classes (default: all)."""
        guesses = [{"name": name, "probability": probability} for name, probability in self.guesses[:top]]
        return {"picture": self.picture, "classes": guesses}


class Classifier:
    """Classifies pictures with a trained network.

    Engine and device are chosen by `devices.choose`; ``engine_settings`` are the engine's own. ``threads`` are CPU
    threads, by default one for each core.

    Raises `PictureError` if the network's input is not a picture, and the errors of `devices.choose` and `load_engine`.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        *,
        engine: str = "auto",
        device: str = "auto",
        engine_settings: dict[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        choice = devices.choose(engine, device)
        lease.show(choice.cards)
        self.trained = trained
        self._size = _picture_size(trained)
        self._engine = load_engine(choice.engine, choice.device, threads or devices.cores(), **(engine_settings or {}))

    def predict(self, picture: str | Path) -> Prediction:
        """Classify a picture, which `read_picture` crops and scales; raises its `PictureError`."""
        return next(self.predict_many([picture]))

    def predict_many(
        self, files: Sequence[str | Path], on_error: Callable[[PictureError], None] | None = None
    ) -> Iterator[Prediction]:
        """Classify pictures in their order.

        A file that cannot be read raises `PictureError`, unless ``on_error`` takes the error: then it is skipped.
        """
        for start in range(0, len(files), PICTURES_AT_ONCE):
            names, images = [], []
            for file in files[start : start + PICTURES_AT_ONCE]:
                try:
                    images.append(read_picture(Path(file), *self._size))
                    names.append(str(file))
                except PictureError as error:
                    if on_error is None:
                        raise
                    on_error(error)
            if images:
                for name, row in zip(names, self.probabilities(np.stack(images)).tolist(), strict=True):
                    guesses = map(Guess, self.trained.class_names, row)
                    yield Prediction(name, sorted(guesses, key=lambda guess: guess.probability, reverse=True))

    def probabilities(self, images: ByteArray) -> FloatArray:
        """Return the probabilities of the classes, (N, classes), for color images, (N, 3, height, width) and uint8."""
        gray = grayscale(images).reshape(len(images), *self.trained.network.input_shape)
        return self._engine.probabilities(self.trained.network, self.trained.weights, gray)

    def first_wait(self) -> str | None:
        """Return why the first use on this machine takes longer, for example a compiler; None if it does not."""
        return self._engine.first_wait()


def latest_classifier(network: str = "cnn", outputs: str | Path = "outputs", **options: Any) -> Classifier:
    """Return a classifier with the network of the latest training.

    The options are those of `Classifier`, the errors also those of `read_latest_network`.
    """
    return Classifier(read_latest_network(network, Path(outputs)), **options)


def prediction_lines(predictions: Sequence[Prediction], top: int) -> list[str]:
    """Format predictions as aligned lines, each with the ``top`` most probable classes."""
    cells = [[prediction.picture, *map(str, prediction.guesses[:top])] for prediction in predictions]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _picture_size(trained: TrainedNetwork) -> tuple[int, int]:
    """Return the height and width of the gray pictures that a network takes."""
    network = trained.network
    if network.picture_size is None:
        raise PictureError(
            f"{trained.name} takes images of shape {network.input_shape}, to which no picture can be converted; "
            "expected (1, height, width), or a number of units that is a square."
        )
    return network.picture_size
