"""The stages that train and evaluate networks."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import luigi

from pipeline.engines import devices
from pipeline.engines.devices import ENGINES, Choice
from pipeline.errors import DeclarationError, SettingError
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.declared import NETWORKS, find_network
from tasks.data import Grayscale2D, GrayscaleFlat
from tasks.run import RUN
from tasks.settings import engine_settings, settings
from tasks.stages import StageTask

ANY = Hyperparameters(learning_rate=0.01, momentum=0.9, epochs=1)
"""Hyperparameters to check a setting against, before a network is chosen."""

AS_DECLARED = "Empty: as pipeline/networks/declared.py declares it."


class NetworkTask(StageTask):
    """A stage of one network."""

    kind: ClassVar[str]
    identifying = without_effect = ("network",)
    network: Any

    @classmethod
    def of(cls, network: str, **given: Any) -> Self:
        """Return the task of a network; luigi.cfg and the command line have the values that are None here."""
        values = {name: value for name, value in given.items() if value is not None}
        own = cls.own_task(network)
        return own(**values) if own else cls(network=network, **values)

    @classmethod
    def own_task(cls, network: str) -> type[Self] | None:
        """Return the subclass whose ``network`` this is, which has a section of its own in luigi.cfg."""
        return next((own for own in cls.__subclasses__() if own.network == network), None)

    @property
    def stage_name(self) -> str:
        return f"{self.kind}{self.network.upper()}"


class EngineTask(NetworkTask):
    """A stage of one network that an engine computes."""

    on_engine = luigi.OptionalParameter(default=None, description="As [settings] engine, for this stage alone.")
    on_device = luigi.OptionalParameter(default=None, description="As [settings] device, for this stage alone.")
    from_seed = luigi.OptionalIntParameter(default=None, description="As [settings] seed, for this network alone.")

    @classmethod
    def check(cls, given: Any) -> None:
        devices.check(given.on_engine or "auto", given.on_device or "auto")
        settings.active().checked_seed(given.from_seed)

    @property
    def libraries(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("numpy", "h5py", *ENGINES[self.choice().engine].libraries)

    def imports(self) -> tuple[str, ...]:
        return (f"pipeline.engines.{self.choice().engine}.engine:ENGINE",)

    def options(self) -> dict[str, Any]:
        return {"threads": settings.active().thread_count()}

    def choice(self) -> Choice:
        """Return the engine and the device that compute this stage."""
        return settings.active().choice(self.on_engine, self.on_device)

    def architecture(self) -> dict[str, Any]:
        """Return the declared network, in JSON's types."""
        return find_network(self.network).architecture

    def images(self) -> StageTask:
        """Return the data set of the network's input shape."""
        is_flat = len(self.architecture()["input_shape"]) == 2
        return GrayscaleFlat() if is_flat else Grayscale2D()


@EngineTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)  # type: ignore[untyped-decorator]
def _tell_of_device(task: EngineTask, _: luigi.Task) -> None:
    """Print the device that ``auto`` chose, before the first stage computes: Luigi discovers what that one requires."""
    if (task.on_device or settings.active().device) == "auto":
        choice = task.choice()
        RUN.print_once(f"{choice.engine} on {choice.device}; {choice.reason}")


class Train(EngineTask):
    """Train a network from pipeline/networks/declared.py."""

    function = "pipeline.training.train:train"
    length_parameter = "epochs"
    kind = "Train"

    network = luigi.Parameter(always_in_help=True, description=f"One of {', '.join(NETWORKS)}.")
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if type(self) is Train and (own := self.own_task(self.network)):
            raise SettingError(
                f"network is {self.network!r}, which has a task with settings of its own: {own.__name__}."
            )

    @classmethod
    def check(cls, given: Any) -> None:
        super().check(given)
        cls._hyperparameters(given, ANY)

    def requires(self) -> dict[str, StageTask]:
        return {"images": self.images()}

    def decides(self) -> dict[str, Any]:
        how = self._hyperparameters(self, find_network(self.network).hyperparameters)
        return {
            "network": self.network,
            "architecture": self.architecture(),
            "engine": self.choice().engine,
            "engine_settings": engine_settings(self.choice().engine),
            "device": self.choice().device,
            "seed": settings.active().checked_seed(self.from_seed),
            "epochs": how.epochs,
            "learning_rate": how.learning_rate,
            "momentum": how.momentum,
            "batch_size": how.batch_size,
            "validation_fraction": how.validation_fraction,
        }

    @classmethod
    def _hyperparameters(cls, given: Any, declared: Hyperparameters) -> Hyperparameters:
        try:
            return declared.replaced(
                epochs=given.epochs,
                learning_rate=given.learning_rate,
                momentum=given.momentum,
                batch_size=given.batch_size,
                validation_fraction=given.validation_fraction,
            )
        except DeclarationError as error:
            raise SettingError(f"{cls.task_family}.{error}") from None


class TrainMLP(Train):
    """Train the article's multi-layer perceptron."""

    network = "mlp"


class TrainCNN(Train):
    """Train the article's convolutional network."""

    network = "cnn"


class Evaluate(EngineTask):
    """Evaluate a network from pipeline/networks/declared.py on the test images."""

    function = "pipeline.training.evaluate:evaluate"
    kind = "Evaluate"

    network = luigi.Parameter(always_in_help=True, description=f"One of {', '.join(NETWORKS)}.")
    trained_on_engine = luigi.OptionalParameter(default=None, description="As [settings] engine, for its training.")
    trained_on_device = luigi.OptionalParameter(default=None, description="As [settings] device, for its training.")

    @classmethod
    def check(cls, given: Any) -> None:
        super().check(given)
        devices.check(given.trained_on_engine or "auto", given.trained_on_device or "auto")

    def requires(self) -> dict[str, StageTask]:
        trained = Train.of(
            self.network,
            on_engine=self.trained_on_engine,
            on_device=self.trained_on_device,
            from_seed=self.from_seed,
        )
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


class History(NetworkTask):
    """Write the losses of each epoch as CSV and for TensorBoard."""

    function = "pipeline.report.history_files:write_history_files"
    kind = "History"

    network = luigi.Parameter(always_in_help=True, description=f"One of {', '.join(NETWORKS)}.")

    def requires(self) -> dict[str, StageTask]:
        return {"trained": Train.of(self.network)}


class HistoryMLP(History):
    """Write the losses of the article's multi-layer perceptron as CSV and for TensorBoard."""

    network = "mlp"


class HistoryCNN(History):
    """Write the losses of the article's convolutional network as CSV and for TensorBoard."""

    network = "cnn"
