"""Train and evaluate the networks."""

from __future__ import annotations

from typing import Any, ClassVar

import luigi

from pipeline import networks
from pipeline.declaration import Hyperparameters
from pipeline.devices import ENGINES, Choice
from tasks.data import Grayscale2D, GrayscaleFlat
from tasks.settings import engine_settings, settings
from tasks.stages import StageTask

AS_DECLARED = "Empty: as pipeline/networks.py declares it."


class EngineTask(StageTask):
    """A stage that an engine computes."""

    kind: ClassVar[str]
    network: Any

    engine = luigi.OptionalParameter(default=None, description="As [settings] engine, for this network alone.")
    device = luigi.OptionalParameter(default=None, description="As [settings] device, for this network alone.")

    @property
    def stage_name(self) -> str:
        return f"{self.kind}{self.network.upper()}"

    @property
    def libraries(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("numpy", "h5py", *ENGINES[self.choice().engine].libraries)

    def engine_modules(self) -> tuple[str, ...]:
        return (f"pipeline.engines.{self.choice().engine}",)

    def options(self) -> dict[str, Any]:
        return {"threads": settings.active().thread_count()}

    def choice(self) -> Choice:
        """Return the engine and the device that compute this stage."""
        return settings.active().choice(self.engine, self.device)

    def architecture(self) -> dict[str, Any]:
        """Return the network as it is declared, in JSON's types."""
        return networks.declared(self.network)[0]

    def images(self) -> StageTask:
        """Return the data set that has the shape the network takes."""
        is_flat = len(self.architecture()["input_shape"]) == 2
        return GrayscaleFlat() if is_flat else Grayscale2D()


class Train(EngineTask):
    """Train a network from pipeline/networks.py."""

    function = "pipeline.training:train"
    kind = "Train"

    network = luigi.Parameter(always_in_help=True, description=f"One of {', '.join(networks.NETWORKS)}.")
    epochs = luigi.OptionalIntParameter(
        default=None, always_in_help=True, description=f"Passes over the training images. {AS_DECLARED}"
    )
    learning_rate = luigi.OptionalFloatParameter(
        default=None, always_in_help=True, description=f"Step along the gradient, a number above 0. {AS_DECLARED}"
    )
    momentum = luigi.OptionalFloatParameter(
        default=None, always_in_help=True, description=f"Nesterov momentum, from 0 up to but not 1. {AS_DECLARED}"
    )
    batch_size = luigi.OptionalIntParameter(
        default=None, always_in_help=True, description=f"Images in a minibatch. {AS_DECLARED}"
    )
    validation_fraction = luigi.OptionalFloatParameter(
        default=None,
        always_in_help=True,
        description=f"Part of the training images held out for validation, up to 0.5. {AS_DECLARED}",
    )

    seed = luigi.OptionalIntParameter(default=None, description="As [settings] seed, for this network alone.")

    def requires(self) -> dict[str, StageTask]:
        return {"images": self.images()}

    def decides(self) -> dict[str, Any]:
        how = self._hyperparameters()
        return {
            "network": self.network,
            "architecture": self.architecture(),
            "engine": self.choice().engine,
            "engine_settings": engine_settings(self.choice().engine),
            "device": self.choice().device,
            "seed": settings.active().checked_seed(self.seed),
            "epochs": how.epochs,
            "learning_rate": how.learning_rate,
            "momentum": how.momentum,
            "batch_size": how.batch_size,
            "validation_fraction": how.validation_fraction,
        }

    def _hyperparameters(self) -> Hyperparameters:
        declared = networks.declared(self.network)[1]
        return declared.replaced(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            batch_size=self.batch_size,
            validation_fraction=self.validation_fraction,
        )


class TrainMLP(Train):
    """Train the article's multi-layer perceptron."""

    network = "mlp"


class TrainCNN(Train):
    """Train the article's convolutional network."""

    network = "cnn"


class Evaluate(EngineTask):
    """Evaluate a network from pipeline/networks.py on the test images."""

    function = "pipeline.evaluation:evaluate"
    kind = "Evaluate"

    network = luigi.Parameter(always_in_help=True, description=f"One of {', '.join(networks.NETWORKS)}.")
    trained_engine = luigi.OptionalParameter(default=None, description="Engine that trains it, where that is another.")
    trained_device = luigi.OptionalParameter(default=None, description="Device that trains it, where that is another.")
    seed = luigi.OptionalIntParameter(default=None, description="As [settings] seed, for this network alone.")

    def requires(self) -> dict[str, StageTask]:
        trained = trainer(self.network, engine=self.trained_engine, device=self.trained_device, seed=self.seed)
        return {"images": self.images(), "trained": trained}

    def decides(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture(),
            "engine": self.choice().engine,
            "engine_settings": engine_settings(self.choice().engine),
            "device": self.choice().device,
        }


class EvaluateMLP(Evaluate):
    """Evaluate the article's multi-layer perceptron."""

    network = "mlp"


class EvaluateCNN(Evaluate):
    """Evaluate the article's convolutional network."""

    network = "cnn"


def trainer(network: str, **own: Any) -> Train:
    """Return the task that trains a network: the one with settings of its own, where there is one.

    What is None in ``own`` is left to luigi.cfg and the command line.
    """
    tasks: dict[str, type[Train]] = {"mlp": TrainMLP, "cnn": TrainCNN}
    given = {name: value for name, value in own.items() if value is not None}
    return tasks[network](**given) if network in tasks else Train(network=network, **given)


def evaluator(network: str, **own: Any) -> Evaluate:
    """Return the task that evaluates a network, likewise."""
    tasks: dict[str, type[Evaluate]] = {"mlp": EvaluateMLP, "cnn": EvaluateCNN}
    given = {name: value for name, value in own.items() if value is not None}
    return tasks[network](**given) if network in tasks else Evaluate(network=network, **given)
