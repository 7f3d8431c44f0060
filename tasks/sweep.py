"""Train and evaluate networks with every combination of some settings: each combination is a trial."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import luigi

from pipeline.engines import devices
from pipeline.errors import DeclarationError, PipelineError, SettingError
from pipeline.networks.declared import NETWORKS, find_network
from pipeline.progress.terminal import highlighted_table, print_answer
from pipeline.report.markup import counted, named
from pipeline.store import results
from pipeline.store.record import Record
from pipeline.store.stage import Stage
from tasks import shared_work
from tasks.learning import ANY, EngineTask, Evaluate, Train
from tasks.luigi_adapter.errors import end
from tasks.settings import settings
from tasks.stages import StageTask
from tasks.this_run import RUN, check_forced

TABLE = "sweep.md"
"""The file of the result that is printed at the end."""

LISTS: dict[str, Callable[[str], Any]] = {
    "network": str,
    "engines": str,
    "learning_rate": float,
    "momentum": float,
    "batch_size": int,
    "epochs": int,
    "seeds": int,
}
"""The settings of a sweep, with the type of their values; those of the last one vary fastest."""

EXPECTED: dict[Any, str] = {
    str: "names with commas between them",
    int: "whole numbers with commas between them, such as 1,2,3",
    float: "numbers with commas between them, such as 0.005,0.015",
}

HYPERPARAMETERS = ("learning_rate", "momentum", "batch_size", "epochs")


class TrialTask(EngineTask):
    """Train a network with one combination of settings, and evaluate it: the stages of `Train` and `Evaluate`.

    A loss that is not finite is a result, too. A trial with more epochs waits for those with fewer, and goes on from
    their checkpoints; otherwise two workers would wait for the same ones. Where machines share their work, a trial only
    evaluates, and its training is a `TrialTrainingTask`; luigid knows both by the names that they have in a pipeline.
    """

    kind = Evaluate.kind

    learning_rate = luigi.OptionalFloatParameter(default=None)
    momentum = luigi.OptionalFloatParameter(default=None)
    batch_size = luigi.OptionalIntParameter(default=None)
    epochs = luigi.OptionalIntParameter(default=None)
    fewer_epochs = luigi.TupleParameter(default=(), significant=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not shared_work.is_shared():
            self.task_id = f"Trial_{self.task_id}"  # a worker must not take it for an `EvaluateCNN` of its own

    def requires(self) -> dict[str, StageTask]:
        if shared_work.is_shared():
            return {"images": self.images(), "trained": self.clone(TrialTrainingTask)}
        return {"images": self.images()} | ({"shorter": self.shorter} if self.shorter else {})

    @functools.cached_property
    def shorter(self) -> TrialTask | None:
        """The trial with the next fewer epochs."""
        if not self.fewer_epochs:
            return None
        *fewer, epochs = self.fewer_epochs
        return self.clone(epochs=epochs, fewer_epochs=tuple(fewer))

    @functools.cached_property
    def training(self) -> Stage:
        """The stage that trains."""
        as_set = Train.of(self.network, on_engine=self.on_engine).stage
        given = {"seed": self.from_seed, **{name: getattr(self, name) for name in HYPERPARAMETERS}}
        chosen = {name: value for name, value in given.items() if value is not None}
        return replace(as_set, parameters={**as_set.parameters, **chosen}, may_fail=True)

    @functools.cached_property
    def stage(self) -> Stage:
        """The stage that evaluates."""
        as_set = Evaluate.of(self.network, on_engine=self.on_engine, trained_on_engine=self.on_engine).stage
        return replace(as_set, inputs={**as_set.inputs, "trained": self.training}, may_fail=True)

    def made(self) -> list[Stage]:
        return [self.stage] if shared_work.is_shared() else [self.training, self.stage]

    def label(self, stage: Stage) -> str:
        return f"{stage.name}, {self.description}"

    @property
    def description(self) -> str:
        """The settings that were given: ``learning rate 0.005, epochs 50, seed 1``."""
        given = {name: getattr(self, name) for name in HYPERPARAMETERS}
        given |= {"seed": self.from_seed, "engine": self.on_engine}
        return ", ".join(named(name, value) for name, value in given.items() if value is not None) or "as set"

    def _show(self, stages: Iterable[Stage]) -> None:
        """Leave the links in ``latest`` to the networks of the pipeline."""


class TrialTrainingTask(TrialTask):
    """Train the network of a trial, where machines share their work: a pipeline may need the same training.

    Like the pipeline's own it requires only images, so that both have the same requirements in luigid. A training with
    more epochs waits for one with fewer as for a resource, of which luigid has one: the next in the order of the sweep
    takes it.
    """

    kind = Train.kind

    def requires(self) -> dict[str, StageTask]:
        return {"images": self.images()}

    @functools.cached_property
    def stage(self) -> Stage:
        training: Stage = self.clone(TrialTask).training  # with its key, which takes half a millisecond to make
        return training

    def made(self) -> list[Stage]:
        return [self.stage]

    @property
    def resources(self) -> dict[str, int]:  # type: ignore[override]
        """The checkpoints that it shares with the trainings of other epochs, named by the key of the shortest one."""
        fewest = next(iter(self.fewer_epochs), self.epochs)
        shortest = self.clone(TrialTask, epochs=fewest, fewer_epochs=())
        return {f"checkpoints_{shortest.training.key}": 1}


class Sweep(StageTask):
    """Train and evaluate networks with every combination of some settings; rank the settings by validation accuracy."""

    function = "pipeline.report.sweep:write_sweep"
    libraries = ("matplotlib",)
    runs_alone = True

    network = luigi.Parameter(default="cnn", description=f"Networks: {', '.join(NETWORKS)}, with commas between them.")
    learning_rate = luigi.Parameter(default="", description="Learning rates. Empty, here and below: as set for Train.")
    momentum = luigi.Parameter(default="", description="Momenta.")
    batch_size = luigi.Parameter(default="", description="Numbers of images in a minibatch.")
    epochs = luigi.Parameter(default="", description="Numbers of epochs.")
    seeds = luigi.Parameter(default="", description="Seeds; the table has the mean of all. Empty: [settings] seed.")
    engines = luigi.Parameter(default="", description="Engines. Empty: [settings] engine.")
    dry_run = luigi.BoolParameter(default=False, description="List the trials, and whether their results are there.")

    without_effect = (*LISTS, "dry_run")  # on any other run: nobody is reminded of them

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        RUN.told[self.stage.path / TABLE] = self

    @classmethod
    def check_settings(cls, given: Any) -> None:
        for name in LISTS:
            _values(given, name)

    @functools.cached_property
    def trials(self) -> list[TrialTask]:
        """A task for each combination of values; combinations that come to the same training are one."""
        given = {name: _values(self, name) for name in LISTS}
        given["epochs"].sort()
        tasks: dict[Path, TrialTask] = {}
        for network, engine, *hyperparameters, seed in itertools.product(*given.values()):
            chosen: dict[str, Any] = dict(zip(HYPERPARAMETERS, hyperparameters, strict=True))
            chosen |= {"network": network, "on_engine": engine, "on_device": None, "from_seed": seed}
            chosen["fewer_epochs"] = tuple(given["epochs"][: given["epochs"].index(chosen["epochs"])])
            task = TrialTask(**chosen)
            tasks[task.stage.path] = task
        return list(tasks.values())

    def requires(self) -> dict[str, StageTask]:
        return {f"trial_{number}": trial for number, trial in enumerate(self.trials)}

    def inputs(self) -> dict[str, Stage]:
        return {
            f"{name}_{number}": stage
            for number, trial in enumerate(self.trials)
            for name, stage in (("trained", trial.training), ("evaluated", trial.stage))
        }

    def complete(self) -> bool:
        return self._is_listed if self.dry_run else super().complete()

    @functools.cached_property
    def _is_listed(self) -> bool:
        """Whether a dry run has listed the trials; once, since Luigi asks again at the end of a run with luigid."""
        try:
            check_forced(results.upstream(self.stage), self.task_family)
            print_answer(highlighted_table(_plan(self.trials), "STATE"))
        except (PipelineError, OSError) as error:
            end(error)
        return True

    def _show(self, _: Iterable[Stage]) -> None:
        """Let only the link of the sweep lead to its result, and leave those to the networks of the pipeline."""
        super()._show([self.stage])


def _values(given: Any, name: str) -> list[Any]:
    """Return the values of a setting, each once; None alone where none is given. A network must be given."""
    text = getattr(given, name).strip()
    if not text and name != "network":
        return [None]
    values = list(dict.fromkeys(_value(name, value.strip()) for value in text.split(",")))
    for value in values:
        _check(name, value)
    return values


def _value(name: str, text: str) -> Any:
    kind = LISTS[name]
    try:
        if text:
            return kind(text)
    except ValueError:
        pass
    raise SettingError(f"Sweep.{name} has {text!r}; expected {EXPECTED[kind]}.")


def _check(name: str, value: Any) -> None:
    """Raise `SettingError` for a value that no training can have."""
    if name == "network":
        find_network(value)
    elif name == "engines":
        devices.check(value, "auto")
    elif name == "seeds":
        settings.active().checked_seed(value)
    else:
        try:
            ANY.replaced(**{name: value})
        except DeclarationError as error:
            raise SettingError(f"Sweep.{error}") from None


def _plan(trials: Sequence[TrialTask]) -> list[str]:
    """Return a line for each trial: its state, the key of its training, and its settings; then their numbers."""
    forced = RUN.forced_stages()
    records = results.current_records([trial.stage for trial in trials], forced)
    states = [_state(trial, records, forced) for trial in trials]
    width = max(map(len, states))
    lines = [
        f"{state:{width}}  {trial.training.key[:8]:8}  {trial.network.upper()}, {trial.description}"
        for state, trial in zip(states, trials, strict=True)
    ]
    counts = Counter("to resume" if state.startswith("to resume") else state for state in states)
    total = ", ".join(f"{count} {state}" for state, count in counts.items())
    return [f"{'STATE':{width}}  {'KEY':8}  TRIAL", *lines, f"{counted(len(trials), 'trial')}: {total}"]


def _state(trial: TrialTask, records: Mapping[Path, Record | None], forced: results.ForcedStages) -> str:
    training = trial.training
    if record := records[trial.stage.path]:
        return "failed" if record.failure else "cached"
    if records[training.path]:
        return "to evaluate"
    epoch = 0 if training.name in forced.names else _last_epoch(trial, records)
    return f"to resume after epoch {epoch}" if epoch else "to run"


def _last_epoch(trial: TrialTask, records: Mapping[Path, Record | None]) -> int:
    """Return the epoch after which a training goes on: that of a checkpoint, or the last one of a shorter trial."""
    from pipeline.training.checkpoint import newest_epoch

    sources = {name: records[source.path] for name, source in trial.training.inputs.items()}
    contents = {name: source.content for name, source in sources.items() if source}
    shorter = trial.shorter
    is_failed = shorter and (found := records[shorter.stage.path]) and found.failure
    planned = 0 if is_failed else max(trial.fewer_epochs, default=0)
    if contents.keys() != sources.keys():
        return planned
    return max(planned, newest_epoch(trial.training.checkpoints(contents), trial.training.parameters["epochs"]))
