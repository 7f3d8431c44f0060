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

import numpy as np

from pipeline.engines import devices
from pipeline.errors import SettingError
from pipeline.networks.arrays import DoubleArray, FloatArray, IntArray, LabelArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import Weights


@dataclass(frozen=True)
class Examples:
    """Images, float32 of shape ``(N, *Network.input_shape)``, and their labels, uint8 of shape (N,)."""

    images: FloatArray
    labels: LabelArray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Training:
    """A training to begin, or to resume: then ``velocity`` has the velocity of each weight, zero by default."""

    network: Network
    hyperparameters: Hyperparameters
    weights: Weights
    train: Examples
    valid: Examples
    velocity: Weights | None = None


@dataclass(frozen=True, eq=False)
class Validation:
    """The mean loss over the validation images, and their confusion matrix; see `confusion_matrix`."""

    loss: float
    confusion: IntArray

    @property
    def accuracy(self) -> float:
        """The part of the images that is classified correctly, from 0 to 1."""
        return float(self.confusion.trace() / self.confusion.sum())


def confusion_matrix(labels: LabelArray, predicted: IntArray, classes: int) -> IntArray:
    """Count images by class: row i, column j counts those of class i that are classified as class j.

    ``labels`` and ``predicted`` have the shape (N,), the result (classes, classes).
    """
    places = labels.astype(np.int64) * classes + predicted
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


class Trainer(ABC):
    """A network in training on a device, which holds its data."""

    @abstractmethod
    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        """Take a step on each minibatch of the training images, in file order; return the mean loss before each step.

        ``on_progress`` is called with the number of images done so far, as often as costs no time.
        """

    @abstractmethod
    def validate(self) -> Validation:
        """Classify the validation images with the current weights."""

    @abstractmethod
    def weights(self) -> Weights:
        """Return a copy of the current weights."""

    @abstractmethod
    def velocity(self) -> Weights:
        """Return a copy of each weight's current velocity, the v of the update rule."""

    def close(self) -> None:
        """Free the memory and end the processes that the training holds; raise `EngineError` if a process failed."""


@dataclass(frozen=True)
class Engine(ABC):
    """One library, or one set of kernels, that trains and evaluates networks on a device, ``cpu`` or ``cuda``.

    ``threads`` CPU threads may compute at once.
    """

    device: str = "cpu"
    threads: int = 1

    @abstractmethod
    def __post_init__(self) -> None:
        """Check the fields; raise `SettingError` for a value that is not allowed, `DeviceError` for no such device."""

    @abstractmethod
    def trainer(self, training: Training) -> Trainer:
        """Prepare to train a network; raise `EngineError`, which names another engine, if this one cannot."""

    @abstractmethod
    def probabilities(self, network: Network, weights: Weights, images: FloatArray) -> FloatArray:
        """Return the probability of each class for each image, float32, shape (N, classes); raise as `trainer`.

        Images are float32 of shape ``(N, *Network.input_shape)``.
        """

    @abstractmethod
    def exponentials(self, vector: FloatArray, repeats: int) -> tuple[FloatArray, float]:
        """Compute exp() of a float32 vector ``repeats`` times on the device; return the result and the seconds.

        The clock runs for the repetitions alone, not while a process starts, a compiler runs, or values are copied to
        and from the device.
        """

    def device_name(self) -> str:
        """Return the name of the device, for example ``NVIDIA H100``; by default the processor's."""
        return devices.processor_name()

    def first_wait(self) -> str | None:
        """Describe the wait at the first use on this machine, for example for a compiler; None if there is none."""
        return None

    def prepare(self) -> None:
        """Compile what later processes need for any network, for example into a cache; by default nothing.

        A run calls it in a process of its own, where `devices.ENGINES` says how to see that it is due.
        """

    def facts(self) -> dict[str, Any]:
        """Return facts to record beside a result, for example a compiler's flags, in JSON's types."""
        return {}


def load_engine(name: str, device: str = "cpu", threads: int = 1, **settings: Any) -> Engine:
    """Import an engine by name, for a device; ``settings`` are values of its own fields, as ``precision="bf16"``.

    Raise `SettingError` for a name or a value that is not allowed, and `DeviceError` for a device that is not there.
    """
    devices.check_engine(name)
    if device not in ("cpu", "cuda"):
        raise SettingError(f"device is {device!r}; expected cpu or cuda. `devices.choose` takes auto, too.")
    if threads < 1:
        raise SettingError(f"threads is {threads}; expected a whole number from 1.")
    engine: Engine = importlib.import_module(f"pipeline.engines.{name}.engine").ENGINE(device, threads, **settings)
    return engine
