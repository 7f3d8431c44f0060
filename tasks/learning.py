"""The stages that train and evaluate networks."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import luigi

from pipeline.engines import devices, preparation
from pipeline.engines.devices import ENGINES, Choice
from pipeline.errors import DeclarationError, SettingError
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.declared import NETWORKS, find_network
from pipeline.progress.monitor import Monitor
from pipeline.store import results
from tasks import shared_work
from tasks.data import DataTask, Grayscale2D, GrayscaleFlat
from tasks.luigi_adapter.parameters import optional_number, optional_whole_number
from tasks.settings import engine_settings, settings
from tasks.stages import StageTask
from tasks.this_run import RUN

HYPERPARAMETERS = ("epochs", "learning_rate", "momentum", "batch_size", "validation_fraction")
"""The settings of a training, in the order in which records and messages list them."""

ANY = Hyperparameters(learning_rate=0.01, momentum=0.9, epochs=1)
"""Hyperparameters to check a setting against, before a network is chosen."""

AS_DECLARED = "Empty: as pipeline/networks/declared.py declares it."


class NetworkTask(StageTask):
    """A stage of one network."""

    kind: ClassVar[str]
    identifying = without_effect = ("network",)
    network: Any = luigi.Parameter(always_in_help=True, description=f"One of {', '.join(NETWORKS)}.")

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
    def check_settings(cls, given: Any) -> None:
        devices.check(given.on_engine or "auto", given.on_device or "auto")
        settings.active().checked_seed(given.from_seed)

    @property
    def libraries(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("numpy", "h5py", *ENGINES[self.choice().engine].libraries)

    @property
    def imports(self) -> tuple[str, ...]:  # type: ignore[override]
        return (f"pipeline.engines.{self.choice().engine}.engine:ENGINE",)

    def decides(self) -> dict[str, Any]:
        choice = self.choice()
        return {
            "architecture": find_network(self.network).architecture,
            "engine": choice.engine,
            "engine_settings": engine_settings(choice.engine),
            "device": choice.device,
        }

    def options(self) -> dict[str, Any]:
        return {"threads": settings.active().thread_count()}

    def reserved(self, monitor: Monitor) -> AbstractContextManager[None]:
        """Lease a GPU, where the stage computes on one."""
        return settings.active().lease(self.choice(), monitor)

    def choice(self) -> Choice:
        """Return the engine and the device that compute this stage."""
        shared_work.check_choice(self.on_engine or settings.active().engine, self.on_device or settings.active().device)
        return settings.active().choice(self.on_engine, self.on_device)

    def images(self) -> StageTask:
        """Return the data set of the network's input shape: ``(images, pixels)``, or rows and columns of pixels."""
        is_flat = len(find_network(self.network).architecture["input_shape"]) == 2
        return GrayscaleFlat() if is_flat else Grayscale2D()


@EngineTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)  # type: ignore[untyped-decorator]
def _print_choice(task: EngineTask, _: luigi.Task) -> None:
    """Print the engine and the device that ``auto`` chose: Luigi discovers requirements before the first stage runs."""
    if (task.on_device or settings.active().device) == "auto":
        choice = task.choice()
        _print_once(f"{choice.engine} on {choice.device}; {choice.reason}")


@functools.cache
def _print_once(line: str) -> None:
    print(line, flush=True)  # noqa: T201


@EngineTask.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)  # type: ignore[untyped-decorator]
def _prepare_engine(task: EngineTask, source: luigi.Task) -> None:
    """Prepare the engine of a stage while the data that it waits for is made."""
    if not isinstance(source, DataTask) or ENGINES[task.choice().engine].is_prepared():
        return
    if results.current(source.stage, RUN.forced_stages()) is None:
        preparation.begin(task.choice().engine)


class Train(EngineTask):
    """Train a network from pipeline/networks/declared.py."""

    function = "pipeline.training.train:train"
    length_parameter = "epochs"
    kind = "Train"

    epochs = optional_whole_number(f"Passes over the training images. {AS_DECLARED}")
    learning_rate = optional_number(f"Step along the gradient, a number above 0. {AS_DECLARED}")
    momentum = optional_number(f"Nesterov momentum, from 0 up to but not 1. {AS_DECLARED}")
    batch_size = optional_whole_number(f"Images in a minibatch. {AS_DECLARED}")
    validation_fraction = optional_number(f"Fraction of the training images that validates, up to 0.5. {AS_DECLARED}")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if type(self) is Train and (own := self.own_task(self.network)):
            raise SettingError(
                f"network is {self.network!r}, which has a task with settings of its own: {own.__name__}."
            )

    @classmethod
    def check_settings(cls, given: Any) -> None:
        super().check_settings(given)
        cls._hyperparameters(given, ANY)

    def requires(self) -> dict[str, StageTask]:
        return {"images": self.images()}

    def decides(self) -> dict[str, Any]:
        chosen = self._hyperparameters(self, find_network(self.network).hyperparameters)
        return {
            "network": self.network,
            **super().decides(),
            "seed": settings.active().checked_seed(self.from_seed),
            **{name: getattr(chosen, name) for name in HYPERPARAMETERS},
        }

    @classmethod
    def _hyperparameters(cls, given: Any, declared: Hyperparameters) -> Hyperparameters:
        try:
            return declared.replaced(**{name: getattr(given, name) for name in HYPERPARAMETERS})
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
    wanted = True
    kind = "Evaluate"

    trained_on_engine = luigi.OptionalParameter(default=None, description="As [settings] engine, for its training.")
    trained_on_device = luigi.OptionalParameter(default=None, description="As [settings] device, for its training.")

    @classmethod
    def check_settings(cls, given: Any) -> None:
        super().check_settings(given)
        devices.check(given.trained_on_engine or "auto", given.trained_on_device or "auto")

    def requires(self) -> dict[str, StageTask]:
        engine, device = self.trained_on_engine, self.trained_on_device
        trained = Train.of(self.network, on_engine=engine, on_device=device, from_seed=self.from_seed)
        return {"images": self.images(), "trained": trained}


class EvaluateMLP(Evaluate):
    """Evaluate the article's multi-layer perceptron."""

    network = "mlp"


class EvaluateCNN(Evaluate):
    """Evaluate the article's convolutional network."""

    network = "cnn"


class History(NetworkTask):
    """Write the losses of each epoch as CSV and for TensorBoard."""

    function = "pipeline.report.history_files:write_history_files"
    wanted = True
    kind = "History"

    def requires(self) -> dict[str, StageTask]:
        return {"trained": Train.of(self.network)}


class HistoryMLP(History):
    """Write the losses of the article's multi-layer perceptron as CSV and for TensorBoard."""

    network = "mlp"


class HistoryCNN(History):
    """Write the losses of the article's convolutional network as CSV and for TensorBoard."""

    network = "cnn"
