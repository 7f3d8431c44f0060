"""The interface of an engine, and the rules by which every engine trains.

The rules are those of Theano, Lasagne and nolearn:

- A convolution flips its filters: it is a true convolution, no correlation.
- Every value that equals the maximum of its pooling window receives the window's whole gradient.
- The slope of the rectifier at exactly 0 is one half.
- The loss is the mean cross-entropy of the minibatch.
- The update is v = mu v - lr g, then p = p + mu v - lr g, with v from zero.
- Minibatches are taken in file order; the last one may be smaller.

The module ``pipeline/engines/NAME/engine.py`` holds the engine NAME, a class, as ``ENGINE``.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Training:
    """A training to begin, or to resume with the velocity of each weight; it is zero by default."""

    network: Network
    hyperparameters: Hyperparameters
    weights: Weights
    train: Examples
    valid: Examples
    velocity: Weights | None = None


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


@dataclass(frozen=True)
class Engine(ABC):
    """One library, or one set of kernels, that trains and evaluates networks on a device.

    Parameters
    ----------
    device : {"cpu", "cuda"}
    threads : int
        How many CPU threads may compute at once.

    Raises
    ------
    DeviceError
        The device is not there; the message names the missing part.
    """

    device: str = "cpu"
    threads: int = 1

    @abstractmethod
    def trainer(self, training: Training) -> Trainer:
        """Prepare to train a network.

        Raises
        ------
        EngineError
            This engine cannot train this network; the message names an engine that can.
        """

    @abstractmethod
    def probabilities(self, network: Network, weights: Weights, images: FloatArray) -> FloatArray:
        """Return the probability of each class for each image, float32, shape (N, classes).

        Parameters
        ----------
        images : float32 array, shape ``(N, *Network.input_shape)``

        Raises
        ------
        EngineError
            This engine cannot evaluate this network; the message names an engine that can.
        """

    @abstractmethod
    def exponentials(self, vector: FloatArray, repeats: int) -> tuple[FloatArray, float]:
        """Compute exp() of a vector ``repeats`` times on the device.

        Returns
        -------
        result : float32 array, shape of ``vector``
        seconds : float
            Duration of the repetitions alone, without starting a process, compiling, and copying to and from the
            device.
        """

    def device_name(self) -> str:
        """Return the name of the device, for example ``NVIDIA H100``; by default the processor's."""
        return devices.processor_name()

    def first_wait(self) -> str | None:
        """Describe the wait at the first use on this machine, for example for a compiler; None if there is none."""
        return None

    def facts(self) -> dict[str, Any]:
        """Return facts to record beside a result, for example a compiler's flags, in JSON's types."""
        return {}


def load_engine(name: str, device: str = "cpu", threads: int = 1, **settings: Any) -> Engine:
    """Import an engine by name, for a device.

    Parameters
    ----------
    **settings
        Values for the engine's own fields, for example ``precision="bf16"`` for torch.

    Raises
    ------
    SettingError
        There is no engine of this name, or a setting has a value that is not allowed.
    DeviceError
        The device is not there.
    """
    devices.check_engine(name)
    engine: Engine = importlib.import_module(f"pipeline.engines.{name}.engine").ENGINE(device, threads, **settings)
    return engine
