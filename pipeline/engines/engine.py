"""The interface of an engine, and the rules by which every engine trains.

The rules are those of Theano, Lasagne and nolearn:

- A convolution flips its filters: it is a true convolution, no correlation.
- Every value that equals the maximum of its pooling window receives the window's whole gradient.
- The slope of the rectifier at exactly 0 is one half.
- The loss is the mean cross-entropy of the minibatch.
- The update is v = mu v - lr g, then p = p + mu v - lr g, with v from zero.
- Minibatches are taken in file order; the last one may be smaller.

The module ``pipeline/engines/NAME/engine.py`` holds the engine NAME as ``ENGINE``.
"""

from __future__ import annotations

import dataclasses
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.engines import devices
from pipeline.networks.arrays import DoubleArray, FloatArray, LabelArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import Weights


@dataclass(frozen=True)
class Examples:
    """Images and their labels.

    Parameters
    ----------
    images : float32 array, shape ``(N, *Network.input_shape)``
    labels : uint8 array, shape (N,)
    """

    images: FloatArray
    labels: LabelArray

    def __len__(self) -> int:
        return len(self.labels)


class Trainer(ABC):
    """A network in training on a device, which holds its data."""

    @abstractmethod
    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        """Take a step on each minibatch of the training images, in file order.

        Parameters
        ----------
        on_progress : callable
            Is called with the number of images done so far, as often as costs no time.

        Returns
        -------
        float64 array, shape (minibatches,)
            Each minibatch's mean loss before its step.
        """

    @abstractmethod
    def validate(self) -> tuple[float, float]:
        """Return the mean loss and the accuracy over the validation images."""

    @abstractmethod
    def weights(self) -> Weights:
        """Return a copy of the current weights."""

    @abstractmethod
    def velocity(self) -> Weights:
        """Return a copy of each weight's current velocity, the v of the update rule."""

    def close(self) -> None:
        """Free the memory and end the processes that the training holds.

        Raises
        ------
        EngineError
            A process failed.
        """


class Engine(ABC):
    """One library, or one set of kernels, that trains and evaluates networks."""

    @abstractmethod
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
            The velocity of each weight, to resume a training; zeros by default.

        Raises
        ------
        DeviceError
            The device is not there.
        EngineError
            This engine cannot train this network; the message names an engine that can.
        """

    @abstractmethod
    def probabilities(
        self, network: Network, weights: Weights, images: FloatArray, *, device: str, threads: int
    ) -> FloatArray:
        """Return the probability of each class for each image, float32, shape (N, classes).

        Parameters
        ----------
        images : float32 array, shape ``(N, *Network.input_shape)``

        Raises
        ------
        DeviceError
            The device is not there.
        EngineError
            This engine cannot evaluate this network; the message names an engine that can.
        """

    @abstractmethod
    def exponentials(self, vector: FloatArray, repeats: int, *, device: str, threads: int) -> tuple[FloatArray, float]:
        """Compute exp() of a vector ``repeats`` times on the device.

        Returns
        -------
        result : float32 array, shape of ``vector``
        seconds : float
            Duration of the repetitions alone, without starting a process, compiling, and copying to and from the
            device.
        """

    @abstractmethod
    def device_name(self, device: str) -> str:
        """Return the name of the device, for example ``NVIDIA H100``.

        Raises
        ------
        DeviceError
            The device is not there; the message names the missing part.
        """

    def first_wait(self) -> str | None:
        """Describe the wait at the first use on this machine, for example for a compiler; None if there is none."""
        return None

    def facts(self) -> dict[str, Any]:
        """Return facts to record beside a result, for example a compiler's flags, in JSON's types."""
        return {}


def load_engine(name: str, settings: dict[str, Any] | None = None) -> Engine:
    """Import an engine by name.

    Parameters
    ----------
    settings : dict, optional
        Values for the engine's own fields, for example ``{"precision": "bf16"}`` for torch.

    Raises
    ------
    SettingError
        There is no engine of this name, or a setting has a value that is not allowed.
    """
    devices.check_engine(name)
    module = importlib.import_module(f"pipeline.engines.{name}.engine")
    engine: Engine = dataclasses.replace(module.ENGINE, **settings) if settings else module.ENGINE
    return engine
