"""Train a declared network on a data set, as nolearn does: validation split, minibatches, a row for each epoch."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.dataset import GRAYSCALE_NAME, describe_dataset, open_dataset
from pipeline.engines.engine import Engine, Examples, Trainer, load_engine
from pipeline.errors import EngineError
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import WEIGHTS_NAME, Weights, draw_weights, write_weights
from pipeline.progress.monitor import SILENT, Monitor
from pipeline.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pipeline.training.examples import check_fit, read_examples
from pipeline.training.history import (
    HISTORY_NAME,
    TABLE_HEAD,
    Epoch,
    best_epoch,
    table_row,
    write_history,
)

EPOCH_BYTES = 1000
"""More than an epoch takes in the history and the checkpoints together."""


@dataclass(frozen=True)
class TrainingParameters:
    """Everything that decides the weights, besides the images.

    Parameters
    ----------
    network : str
        Name of the network, for messages and ``history.json``.
    architecture : dict
        The network, as `declaration.architecture` returns it.
    engine, device : str
        See `load_engine` and `Engine`; ``engine_settings`` are the engine's own.
    seed : int
        Seed of the initial weights; see `draw_weights`.
    hyperparameters : Hyperparameters
    """

    network: str
    architecture: dict[str, Any]
    engine: str
    engine_settings: dict[str, Any]
    device: str
    seed: int
    hyperparameters: Hyperparameters

    @classmethod
    def of_stage(
        cls,
        *,
        network: str,
        architecture: dict[str, Any],
        engine: str,
        device: str,
        seed: int,
        engine_settings: dict[str, Any] | None = None,
        **hyperparameters: Any,
    ) -> TrainingParameters:
        """Group the parameters of the stage, among which the fields of `Hyperparameters` stand one by one."""
        how = Hyperparameters(**hyperparameters)
        return cls(network, architecture, engine, engine_settings or {}, device, seed, how)

    def for_history(self) -> dict[str, Any]:
        """Return the parameters as ``history.json`` has them: one by one, without the architecture."""
        computed = {"engine": self.engine, **self.engine_settings, "device": self.device}
        return {"network": self.network, **computed, "seed": self.seed, **asdict(self.hyperparameters)}


@dataclass(frozen=True)
class Fit:
    """A finished training: the last weights and the results of each epoch."""

    weights: Weights
    history: list[Epoch]
    resumed_from_epoch: int = 0


def train(
    output: Path,
    *,
    images: Path,
    threads: int,
    monitor: Monitor,
    checkpoints: Path | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """Train a network and write ``weights.h5`` and ``history.json``.

    Parameters
    ----------
    output : Path
        The folder to write into.
    images : Path
        The folder of `grayscale`'s data set.
    threads : int
        Maximum number of CPU threads that compute at once.
    checkpoints : Path, optional
        As in `fit`.
    **parameters
        As in `TrainingParameters.of_stage`.

    Returns
    -------
    dict
        Measurements, which differ from run to run: ``epoch_seconds``, training and validation together, ``threads``,
        ``device_name``, facts of the engine, and ``resumed_from_epoch`` if the training was resumed.

    Raises
    ------
    DatasetError
        The file of images is missing or damaged, or does not fit the network.
    EngineError
        The engine cannot train the network, or the loss is not finite.
    """
    given = TrainingParameters.of_stage(**parameters)
    with open_dataset(images / GRAYSCALE_NAME) as data:
        network = Network.build(given.architecture, len(data.description.class_names))
        check_fit(data, network)
        train_examples, valid_examples = read_examples(data, given.hyperparameters.validation_fraction)
    monitor.log(
        f"{given.network} on {data.description.title}: {len(train_examples)} images train, "
        f"{len(valid_examples)} validate; {network.parameter_count} parameters; {given.engine} on {given.device}"
    )
    engine = load_engine(given.engine, given.engine_settings)
    if wait := engine.first_wait():
        monitor.log(f"{given.engine}: {wait}")
    trained = fit(
        network,
        given.hyperparameters,
        draw_weights(network, given.seed),
        train_examples,
        valid_examples,
        engine=engine,
        device=given.device,
        threads=threads,
        checkpoints=checkpoints,
        monitor=monitor,
    )
    write_weights(output / WEIGHTS_NAME, trained.weights)
    write_history(output / HISTORY_NAME, trained.history, given.for_history(), data.description)
    resumed = {"resumed_from_epoch": trained.resumed_from_epoch} if trained.resumed_from_epoch else {}
    return {
        "epoch_seconds": [epoch.seconds for epoch in trained.history],
        "threads": threads,
        **resumed,
        "device_name": engine.device_name(given.device),
        **engine.facts(),
    }


def max_output_bytes(images: Path, architecture: dict[str, Any], epochs: int, **_others: object) -> int:
    """Return the maximum size in bytes of the output and the checkpoints.

    They are the weights, three checkpoints, one of them unfinished, each of weights and velocity in up to float64,
    and a row for each epoch in the history and in each checkpoint.
    """
    checkpointed = 3 * 2 * 8
    classes = len(describe_dataset(images / GRAYSCALE_NAME).class_names)
    return Network.build(architecture, classes).parameter_count * (4 + checkpointed) + epochs * EPOCH_BYTES


def fit(
    network: Network,
    how: Hyperparameters,
    initial: Weights,
    train: Examples,
    valid: Examples,
    *,
    engine: Engine,
    device: str,
    threads: int,
    checkpoints: Path | None = None,
    monitor: Monitor = SILENT,
) -> Fit:
    """Train a network on examples in memory, from the weights ``initial``, and report a row for each epoch.

    Parameters
    ----------
    checkpoints : Path, optional
        A folder for the checkpoints of this training, with any number of epochs. The training resumes from the newest
        one there, and writes one after each epoch. The result is the same to the byte.

    Raises
    ------
    EngineError
        The engine cannot train the network, or the loss is not finite.
    """
    start = read_checkpoint(checkpoints, how.epochs, monitor) if checkpoints else None
    start = start or Checkpoint(initial, None, [])
    trainer = engine.trainer(
        network, how, start.weights, train, valid, device=device, threads=threads, velocity=start.velocity
    )
    history = list(start.history)
    if history:
        monitor.log(f"resuming after epoch {len(history)} of {how.epochs}")
    for line in (*TABLE_HEAD, *(table_row(history[:count]) for count in range(1, len(history) + 1))):
        monitor.log(line)
    for number in range(len(history) + 1, how.epochs + 1):
        history.append(_train_epoch(trainer, how, number, len(train), monitor))
        if checkpoints:
            write_checkpoint(checkpoints, Checkpoint(trainer.weights(), trainer.velocity(), history))
        monitor.log(table_row(history))
    best = best_epoch(history)
    monitor.log(f"best validation accuracy {best.valid_accuracy:.4f} in epoch {best.epoch} of {how.epochs}")
    trained = trainer.weights()
    trainer.close()
    return Fit(trained, history, resumed_from_epoch=len(start.history))


def _train_epoch(trainer: Trainer, how: Hyperparameters, number: int, images: int, monitor: Monitor) -> Epoch:
    before, total = (number - 1) * images, how.epochs * images
    clock = time.perf_counter()
    losses = trainer.train_epoch(lambda done: monitor.progress(before + done, total, "images"))
    broken = np.flatnonzero(~np.isfinite(losses))
    if broken.size:
        raise _not_finite(losses[broken[0]], f"epoch {number}, minibatch {broken[0] + 1}", how)
    valid_loss, valid_accuracy = trainer.validate()
    if not math.isfinite(valid_loss):
        raise _not_finite(valid_loss, f"epoch {number}, validation", how)
    seconds = time.perf_counter() - clock
    sizes = np.diff([*range(0, images, how.batch_size), images])
    return Epoch(number, float(np.average(losses, weights=sizes)), valid_loss, valid_accuracy, seconds)


def _not_finite(loss: float, where: str, how: Hyperparameters) -> EngineError:
    return EngineError(
        f"the loss is {loss} in {where}, with learning rate {how.learning_rate}: "
        "the weights have left the range of float32. Try a smaller learning rate."
    )
