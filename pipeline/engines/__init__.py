"""What an engine is: it trains what is declared, on a device, and all engines take the same steps.

The rules that each engine follows are those of Theano, Lasagne and nolearn: see `docs` in the README's
section on engines. In short: true convolution; every tied maximum of a pooling window receives the
whole gradient; the rectifier's slope at exactly 0 is one half; the loss is the mean cross-entropy of
the minibatch; v = mu v - lr g, then p = p + mu v - lr g, with v from zero.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.declaration import Hyperparameters, Network
from pipeline.errors import SettingError, did_you_mean
from pipeline.weights import FloatArray, Weights

LabelArray = npt.NDArray[np.uint8]

ENGINES = ("torch",)
"""Every engine by the name that ``--engine`` takes; each is the module of that name in this package."""


@dataclass(frozen=True)
class Examples:
    """Images and their labels.

    Parameters
    ----------
    images : float32 array, shape (N, ...), each as `Network.input_shape` says
    labels : uint8 array, shape (N,)
    """

    images: FloatArray
    labels: LabelArray

    def __len__(self) -> int:
        return len(self.labels)


class Trainer(Protocol):
    """A network in training on a device, with its data where the device reads them fastest."""

    def train_epoch(self, on_progress: Callable[[int], None]) -> npt.NDArray[np.float64]:
        """Take a step on each minibatch of the training images, in file order.

        ``on_progress`` is called with the number of images done, as often as costs nothing.

        Returns
        -------
        float64 array, shape (minibatches,)
            Each minibatch's mean loss before its step.
        """

    def validate(self) -> tuple[float, float]:
        """Return the mean loss and the accuracy over the validation images."""

    def weights(self) -> Weights:
        """Return a copy of the weights as they are now."""


class Engine(Protocol):
    """What the module of an engine provides, as its ``ENGINE``."""

    def trainer(
        self,
        network: Network,
        hyperparameters: Hyperparameters,
        weights: Weights,
        train: Examples,
        valid: Examples,
        *,
        device: str,
        threads: int,
    ) -> Trainer:
        """Prepare to train a network from the given weights.

        Parameters
        ----------
        device : {"cpu", "cuda"}
        threads : int
            How many CPU threads may compute at once.

        Raises
        ------
        DeviceError
            The device is not there.
        EngineError
            This engine cannot train this network; the message names one that can.
        """

    def probabilities(
        self, network: Network, weights: Weights, images: FloatArray, *, device: str, threads: int
    ) -> FloatArray:
        """Return the probability of each class for each image, shape (N, classes)."""

    def exponentials(self, vector: FloatArray, repeats: int, *, device: str, threads: int) -> FloatArray:
        """Take exp() of a vector ``repeats`` times on the device and return the last result."""

    def device_name(self, device: str) -> str:
        """Return what the device calls itself, such as ``NVIDIA H100``.

        Raises
        ------
        DeviceError
            The device is not there; the message says what is missing.
        """


def load(name: str) -> Engine:
    """Import an engine.

    Raises
    ------
    SettingError
        No engine has this name.
    """
    if name not in ENGINES:
        raise SettingError(
            f"there is no engine {name!r}; expected {' or '.join(ENGINES)}.{did_you_mean(name, ENGINES)}"
        )
    module = importlib.import_module(f"pipeline.engines.{name}")
    engine: Engine = module.ENGINE
    return engine
