"""What an engine is: it trains what is declared, and every engine takes the same steps.

The rules are those of Theano, Lasagne and nolearn. True convolution: the filters are flipped. Every
tied maximum of a pooling window receives the whole gradient. The rectifier's slope at exactly 0 is one
half. The loss is the mean cross-entropy of the minibatch. The update is v = mu v - lr g, then
p = p + mu v - lr g, with v from zero. Minibatches are taken in file order, the last one smaller.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.engines import devices
from pipeline.networks.arrays import DoubleArray, FloatArray, LabelArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import Weights


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

    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
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

    def velocity(self) -> Weights:
        """Return a copy of the velocity of each weight: the v of the update rule."""

    def close(self) -> None:
        """End whatever the training runs in.

        Raises
        ------
        EngineError
            It did not end well.
        """


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
        velocity: Weights | None = None,
    ) -> Trainer:
        """Prepare to train a network from the given weights.

        Parameters
        ----------
        device : {"cpu", "cuda"}
        threads : int
            How many CPU threads may compute at once.
        velocity : Weights, optional
            Lasagne's momentum accumulators to go on from; zeros where left out.

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
        """Return the probability of each class for each image, float32 of shape (N, classes).

        Parameters
        ----------
        images : float32 array, shape (N, ...), each as `Network.input_shape` says

        Raises
        ------
        DeviceError
            The device is not there.
        EngineError
            This engine cannot evaluate this network; the message names one that can.
        """

    def exponentials(self, vector: FloatArray, repeats: int, *, device: str, threads: int) -> tuple[FloatArray, float]:
        """Take exp() of a vector ``repeats`` times on the device.

        Returns
        -------
        result : float32 array, shape of ``vector``
            The last of the results.
        seconds : float
            How long the repetitions took, without what precedes the first and follows the last, such as the
            start of a process, compiling, and copies to and from the device.
        """

    def first_wait(self) -> str | None:
        """Say what its first use on this machine waits for, such as a compiler; None where it is ready."""

    def facts(self) -> dict[str, Any]:
        """Return what is worth recording beside a result, such as the flags of a compiler, in JSON's types."""

    def device_name(self, device: str) -> str:
        """Return what the device calls itself, such as ``NVIDIA H100``.

        Raises
        ------
        DeviceError
            The device is not there; the message says what is missing.
        """


def load_engine(name: str, settings: dict[str, Any] | None = None) -> Engine:
    """Import an engine: the module of this package that has its name.

    Parameters
    ----------
    settings : dict, optional
        Values for the fields of an engine that has settings of its own.

    Raises
    ------
    SettingError
        No engine has this name, or a setting has a value that is not allowed.
    """
    devices.check_engine(name)
    module = importlib.import_module(f"pipeline.engines.{name}.engine")
    engine: Engine = dataclasses.replace(module.ENGINE, **settings) if settings else module.ENGINE
    return engine
