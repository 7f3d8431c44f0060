"""Train a declared network on a data set, as nolearn does: split, minibatches, a row for each epoch."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data import dataset
from pipeline.engines.engine import Engine, Examples, Trainer, load_engine
from pipeline.errors import EngineError
from pipeline.networks import weights
from pipeline.networks.arrays import DoubleArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import WEIGHTS_NAME, Weights
from pipeline.progress.monitor import SILENT, Monitor
from pipeline.report import history_files
from pipeline.training import checkpoint
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.examples import check_fit, read_examples
from pipeline.training.history import HISTORY_NAME, TABLE_HEAD, Epoch, best_epoch, table_row, write_history

EPOCH_BYTES = 1000
"""More than an epoch takes in all histories and checkpoints together."""


@dataclass(frozen=True)
class Fit:
    """What a training came to: the last weights, a row for each epoch, and how long each took."""

    weights: Weights
    history: list[Epoch]
    epoch_seconds: list[float]
    resumed_from_epoch: int = 0


def train(
    output: Path,
    *,
    images: Path,
    network: str,
    architecture: dict[str, Any],
    engine: str,
    engine_settings: dict[str, Any] | None = None,
    device: str,
    seed: int,
    epochs: int,
    learning_rate: float,
    momentum: float,
    batch_size: int,
    validation_fraction: float,
    threads: int,
    monitor: Monitor,
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Train a network and write ``weights.h5``, ``history.json``, and the history as `history_files` has it.

    Parameters
    ----------
    output : Path
        The folder to write into.
    images : Path
        The folder of `grayscale`'s data set.
    network : str
        What the network is called where progress is told.
    architecture : dict
        The network, as `declaration.architecture` returns it.
    engine, device : str
        See `load_engine` and `Engine`; ``engine_settings`` are the engine's own.
    seed : int
        Of the generator that draws the initial weights; see `weights.draw`.
    epochs, learning_rate, momentum, batch_size, validation_fraction
        See `declaration.Hyperparameters`.
    threads : int
        CPU threads that may compute at once.
    checkpoints : Path, optional
        As in `fit`.

    Returns
    -------
    dict
        What was measured and may differ from run to run: ``epoch_seconds``, training and validation
        together, ``threads``, ``device_name``, the engine's own facts, and ``resumed_from_epoch`` where that
        is not 0.

    Raises
    ------
    DatasetError
        The images do not fit the network.
    EngineError
        The engine cannot train the network, or the loss is no longer a number.
    """
    how = Hyperparameters(learning_rate, momentum, epochs, batch_size, validation_fraction)
    path = images / dataset.GRAYSCALE_NAME
    data = dataset.describe(path)
    declared = Network.from_json(architecture, len(data.class_names))
    check_fit(path, data, declared)
    train_examples, valid_examples = read_examples(path, validation_fraction)
    monitor.say(
        f"{network} on {data.title}: {len(train_examples)} images train, {len(valid_examples)} validate; "
        f"{declared.parameter_count} parameters; {engine} on {device}"
    )
    loaded = load_engine(engine, engine_settings)
    if wait := loaded.first_wait():
        monitor.say(f"{engine}: {wait}")
    trained = fit(
        declared,
        how,
        weights.draw(declared, seed),
        train_examples,
        valid_examples,
        engine=loaded,
        device=device,
        threads=threads,
        checkpoints=checkpoints,
        monitor=monitor,
    )
    weights.write(output / WEIGHTS_NAME, trained.weights)
    how_trained = {
        "network": network,
        "engine": engine,
        **(engine_settings or {}),
        "device": device,
        "seed": seed,
        **asdict(how),
    }
    write_history(output / HISTORY_NAME, trained.history, how_trained, data)
    history_files.write(output, [asdict(epoch) for epoch in trained.history])
    resumed = {"resumed_from_epoch": trained.resumed_from_epoch} if trained.resumed_from_epoch else {}
    facts = {"device_name": loaded.device_name(device), **loaded.facts()}
    return {"epoch_seconds": trained.epoch_seconds, "threads": threads, **resumed, **facts}


def max_output_bytes(images: Path, architecture: dict[str, Any], epochs: int, **_others: object) -> int:
    """Return the maximum size of the result and its checkpoints, in bytes.

    That is the weights, two checkpoints and a third in the making, each of weights and velocity in as much as
    float64, and a row for each epoch in each of the histories.
    """
    checkpointed = 3 * 2 * 8
    classes = len(dataset.describe(images / dataset.GRAYSCALE_NAME).class_names)
    return Network.from_json(architecture, classes).parameter_count * (4 + checkpointed) + epochs * EPOCH_BYTES


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
    """Train a network on examples in memory, from the weights ``initial``, and tell a row for each epoch.

    Parameters
    ----------
    checkpoints : Path, optional
        A folder of this training alone, with any number of epochs: it goes on from the last epoch that is
        kept there, and keeps each. The result is the same to the byte.

    Raises
    ------
    EngineError
        The engine cannot train the network, or the loss is no longer a number.
    """
    start = checkpoint.newest(checkpoints, how.epochs, monitor) if checkpoints else None
    start = start or Checkpoint(initial, None, [])
    trainer = engine.trainer(
        network, how, start.weights, train, valid, device=device, threads=threads, velocity=start.velocity
    )
    history, seconds = _run_epochs(trainer, how, len(train), monitor, start, checkpoints)
    trained = trainer.weights()
    trainer.close()
    return Fit(trained, history, seconds, resumed_from_epoch=len(start.epochs))


def _run_epochs(
    trainer: Trainer,
    how: Hyperparameters,
    images: int,
    monitor: Monitor,
    start: Checkpoint,
    checkpoints: Path | None,
) -> tuple[list[Epoch], list[float]]:
    history = [Epoch(number, *measured[:-1]) for number, measured in enumerate(start.epochs, start=1)]
    seconds = [measured[-1] for measured in start.epochs]
    if history:
        monitor.say(f"going on from epoch {len(history)} of {how.epochs}")
    for line in (*TABLE_HEAD, *(table_row(history[: index + 1], seconds[index]) for index in range(len(history)))):
        monitor.say(line)
    sizes = np.diff([*range(0, images, how.batch_size), images])
    for number in range(len(history) + 1, how.epochs + 1):
        clock = time.perf_counter()
        losses = trainer.train_epoch(
            lambda done, before=(number - 1) * images: monitor.progress(  # type: ignore[misc]
                before + done, how.epochs * images, "images"
            )
        )
        _check_finite(losses, number, how.learning_rate)
        valid_loss, valid_accuracy = trainer.validate()
        if not math.isfinite(valid_loss):
            raise _lost(valid_loss, f"epoch {number}, validation", how.learning_rate)
        seconds.append(time.perf_counter() - clock)
        history.append(Epoch(number, float(np.average(losses, weights=sizes)), valid_loss, valid_accuracy))
        if checkpoints:
            measured = [[*astuple(epoch)[1:], duration] for epoch, duration in zip(history, seconds, strict=True)]
            checkpoint.write(checkpoints, Checkpoint(trainer.weights(), trainer.velocity(), measured))
        monitor.say(table_row(history, seconds[-1]))
    best = best_epoch(history)
    monitor.say(f"best validation accuracy {best.valid_accuracy:.4f} in epoch {best.epoch} of {how.epochs}")
    return history, seconds


def _check_finite(losses: DoubleArray, epoch: int, learning_rate: float) -> None:
    broken = np.flatnonzero(~np.isfinite(losses))
    if broken.size:
        raise _lost(losses[broken[0]], f"epoch {epoch}, minibatch {broken[0] + 1}", learning_rate)


def _lost(loss: float, where: str, learning_rate: float) -> EngineError:
    return EngineError(
        f"the loss is {loss} in {where}, with learning rate {learning_rate}: "
        "the weights have left the range of float32. Try a smaller learning rate."
    )
