"""The article's own libraries, Theano, Lasagne and nolearn, as an engine.

They run in a child process, on an older Python; the article's code is in ``child/network.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.engines.engine import Engine, Trainer, Training, Validation, confusion_matrix
from pipeline.engines.theano import environment
from pipeline.engines.theano.child_process import Child
from pipeline.engines.theano.flags import FLOAT_TYPES, decisive_flags, given_flags
from pipeline.errors import DeviceError, EngineError, SettingError
from pipeline.networks.arrays import DoubleArray, FloatArray, LabelArray
from pipeline.networks.declaration import Network
from pipeline.networks.weights import Weights


@dataclass(frozen=True)
class TheanoEngine(Engine):
    """The engine, with the settings of the article's ``.theanorc``.

    Parameters
    ----------
    float_x : {"float32", "float64"}
        The type in which Theano computes.
    fast_math : bool
        Whether the compiler gets ``-ffast-math``. The article set ``nvcc.fastmath``, an option of a GPU backend that
        Theano 1.0 no longer has.
    flags : dict, optional
        The `decisive_flags` that this run began with; the engine refuses to start with others. None accepts any.
    """

    float_x: str = "float32"
    fast_math: bool = False
    flags: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.float_x not in FLOAT_TYPES:
            raise SettingError(f"floatX is {self.float_x!r}; expected {' or '.join(FLOAT_TYPES)}.")
        if self.device == "cuda":
            raise DeviceError(
                "Theano cannot use the GPU: Theano 1.0 removed its first GPU backend, and the second needs pygpu, "
                "which is not on PyPI. Without pygpu Theano would silently compute on the CPU. "
                "On the GPU train with: --engine torch"
            )
        if self.device != "cpu":
            raise DeviceError(f"device is {self.device!r}; the Theano engine has 'cpu' alone.")

    def trainer(self, training: Training) -> TheanoTrainer:
        child = self._child()
        child.ask(
            "train",
            architecture=training.network.to_json(),
            batch_size=training.hyperparameters.batch_size,
            update_learning_rate=float(training.hyperparameters.learning_rate),
            update_momentum=float(training.hyperparameters.momentum),
            weights=training.weights,
            velocity=training.velocity or {},
            train=(training.train.images, training.train.labels),
            valid=(training.valid.images, training.valid.labels),
        )
        return TheanoTrainer(child, training.valid.labels, training.network.classes)

    def probabilities(self, network: Network, weights: Weights, images: FloatArray) -> FloatArray:
        architecture = network.to_json()
        with closing(self._child()) as child:
            found: FloatArray = child.ask("probabilities", architecture=architecture, weights=weights, images=images)
        return found.astype(np.float32, copy=False)

    def exponentials(self, vector: FloatArray, repeats: int) -> tuple[FloatArray, float]:
        with closing(self._child()) as child:
            result, seconds, used = child.ask("exponentials", vector=vector, repeats=repeats)
        if used != self.device:
            raise DeviceError(f"device is {self.device!r}, but Theano used the {used}.")
        return result.astype(np.float32, copy=False), seconds

    def first_wait(self) -> str | None:
        has_compiled = environment.CACHE.is_dir() and any(environment.CACHE.glob("compiledir_*"))
        wait = "Theano compiles its operations, once on this machine; it takes about half a minute"
        return None if has_compiled else wait

    def facts(self) -> dict[str, Any]:
        return {"theano_flags": self.all_flags(), "versions": environment.versions()}

    def all_flags(self) -> dict[str, str]:
        """Return Theano's flags: defaults, overridden by the user's own, overridden by the settings."""
        # Theano keeps its memory between steps: a third less CPU time for the CNN, which otherwise has 450,000 page
        # faults in 41 minibatches.
        flags = {"openmp": "True", "allow_gc": "False"}
        # Theano itself reads a value with %( from its file and fills it in.
        flags |= {name: value for name, value in given_flags().items() if "%(" not in value}
        if self.fast_math:
            flags["gcc.cxxflags"] = f"{flags.get('gcc.cxxflags', '')} -ffast-math".strip()
        return flags | {"device": "cpu", "floatX": self.float_x, "base_compiledir": str(environment.CACHE)}

    def _child(self) -> Child:
        if not environment.is_ready():
            raise EngineError(
                "the environment of Theano is not built, or its requirements have changed. Build it with: make theano"
            )
        if self.flags not in (None, decisive_flags()):
            raise EngineError("Theano's flags were edited after this run began. Run the same command again.")
        return Child(self.all_flags(), self.threads)


class TheanoTrainer(Trainer):
    """A network in training in a child process, which holds the data; nolearn validates at the end of each epoch."""

    def __init__(self, child: Child, valid_labels: LabelArray, classes: int) -> None:
        self._child = child
        self._valid_labels, self._classes = valid_labels, classes

    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        losses: DoubleArray = self._child.ask("training.epoch", on_progress)
        return losses

    def validate(self) -> Validation:
        loss, predicted = self._child.ask("training.validation")
        return Validation(loss, confusion_matrix(self._valid_labels, predicted, self._classes))

    def weights(self) -> Weights:
        """Return a copy of the weights in Theano's own type, from which alone a training resumes exactly."""
        weights: Weights = self._child.ask("training.weights")
        return weights

    def velocity(self) -> Weights:
        """Return a copy of each weight's velocity in Theano's own type."""
        velocity: Weights = self._child.ask("training.velocity")
        return velocity

    def close(self) -> None:
        self._child.close()


ENGINE = TheanoEngine
