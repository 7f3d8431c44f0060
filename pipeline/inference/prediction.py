"""Say what is on pictures, with a trained network.

::

    from pipeline.inference import prediction

    classifier = prediction.latest("cnn")
    print(classifier.predict("dog.png"))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from pipeline.data.grayscale import grayscale
from pipeline.engines import devices
from pipeline.engines.engine import load_engine
from pipeline.errors import PictureError
from pipeline.inference import pictures, trained_network
from pipeline.inference.trained_network import TrainedNetwork
from pipeline.networks.arrays import ByteArray, FloatArray

PICTURES_AT_ONCE = 256


class Guess(NamedTuple):
    """A class, and how probable the network finds it."""

    class_name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a network makes of a picture: a guess for each class, the most probable first."""

    picture: str
    guesses: list[Guess]

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return self.guesses[0].class_name

    def __str__(self) -> str:
        return f"{self.picture}: {_told(self.guesses[0])}"


class Classifier:
    """Shows pictures to a trained network.

    Parameters
    ----------
    engine, device : str
        What computes; each may be ``"auto"``.
    engine_settings : dict, optional
        For an engine that has settings of its own.
    threads : int, optional
        CPU threads; all cores where it is left out.

    Raises
    ------
    PictureError
        The network takes no pictures.
    SettingError, DeviceError
        There is no such engine or device.
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
        self.trained = trained
        self._size = _picture_size(trained)
        self._engine = load_engine(choice.engine, engine_settings)
        self._device = choice.device
        self._threads = threads or devices.cores()

    def predict(self, picture: str | Path) -> Prediction:
        """Say what is on a picture: a PNG or a JPEG, cropped and scaled as `pipeline.inference.pictures` says.

        Raises
        ------
        PictureError
            The file cannot be read as a picture.
        """
        return next(self.predict_many([picture]))

    def predict_many(
        self, files: Sequence[str | Path], on_error: Callable[[PictureError], None] | None = None
    ) -> Iterator[Prediction]:
        """Say what is on pictures, in their order; memory holds a few hundred of them, scaled, at a time.

        A file that cannot be read raises `PictureError`, or is left out and told to ``on_error``.
        """
        for start in range(0, len(files), PICTURES_AT_ONCE):
            names, images = [], []
            for file in files[start : start + PICTURES_AT_ONCE]:
                try:
                    images.append(pictures.read(Path(file), *self._size))
                    names.append(str(file))
                except PictureError as error:
                    (on_error or _raise)(error)
            if images:
                for name, row in zip(names, self.probabilities(np.stack(images)), strict=True):
                    yield Prediction(name, self._ranked(row))

    def probabilities(self, images: ByteArray) -> FloatArray:
        """Return each class's probability, shape (N, classes), for color images (N, 3, height, width), uint8."""
        gray = grayscale(images).reshape(len(images), *self.trained.network.input_shape)
        return self._engine.probabilities(
            self.trained.network, self.trained.weights, gray, device=self._device, threads=self._threads
        )

    def first_wait(self) -> str | None:
        """Say what the first use on this machine waits for; None where nothing."""
        return self._engine.first_wait()

    def _ranked(self, probabilities: FloatArray) -> list[Guess]:
        order = np.argsort(-probabilities, kind="stable")
        return [Guess(self.trained.class_names[label], float(probabilities[label])) for label in order]


def latest(network: str = "cnn", outputs: str | Path = "outputs", **how: Any) -> Classifier:
    """Return a classifier with the network that was trained last.

    Parameters
    ----------
    network : str
        One of `pipeline.networks.declared.NETWORKS`.
    outputs : path
        Folder of trained networks and results.
    **how
        See `Classifier`.

    Raises
    ------
    SettingError
        No network has this name.
    StoreError
        The network has not been trained, or what its training wrote is damaged.
    WeightsError
        Its weights do not fit it.
    DeviceError
        The device that was asked for is not there.
    """
    return Classifier(trained_network.latest(network, Path(outputs)), **how)


def table(predictions: Sequence[Prediction], top: int) -> list[str]:
    """Put predictions into lines for people, with the ``top`` most probable classes."""
    cells = [[prediction.picture, *map(_told, prediction.guesses[:top])] for prediction in predictions]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def plain(prediction: Prediction, top: int | None = None) -> dict[str, Any]:
    """Return a prediction in JSON's types."""
    return {
        "picture": prediction.picture,
        "classes": [{"name": name, "probability": probability} for name, probability in prediction.guesses[:top]],
    }


def _told(guess: Guess) -> str:
    return f"{guess.class_name} {guess.probability:.3f}"


def _raise(error: PictureError) -> NoReturn:
    raise error


def _picture_size(trained: TrainedNetwork) -> tuple[int, int]:
    """Return the rows and columns of the gray images that a network takes."""
    match trained.network.input_shape:
        case (1, height, width):
            return height, width
        case (units,) if math.isqrt(units) ** 2 == units:
            return math.isqrt(units), math.isqrt(units)
        case shape:
            raise PictureError(
                f"{trained.name} takes images of shape {shape}, which no picture can be made into; "
                "expected (1, height, width), or as many units as a square has."
            )
