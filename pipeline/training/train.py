"""Train a declared network on a data set, as nolearn does: validation split, minibatches, a row for each epoch."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.dataset import GRAYSCALE_NAME, describe_dataset, open_dataset
from pipeline.engines.engine import Engine, Trainer, Training, Validation, load_engine
from pipeline.errors import DivergedError
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import WEIGHTS_NAME, Weights, draw_weights, write_weights
from pipeline.progress.monitor import SILENT, Monitor
from pipeline.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pipeline.training.examples import network_for, read_examples
from pipeline.training.film import (
    FILM_NAME,
    Film,
    ShownImages,
    film_of_epoch,
    first_of_each_class,
    max_film_bytes,
    write_film,
)
from pipeline.training.history import HISTORY_NAME, TABLE_HEAD, Epoch, best_epoch, table_row, write_history

EPOCH_BYTES = 1000
"""More than the row of an epoch takes in the history and in the checkpoints together."""


@dataclass(frozen=True)
class Fit:
    """A finished training: the last weights, the results of each epoch, the epoch of the checkpoint, or 0, the film."""

    weights: Weights
    history: list[Epoch]
    resumed_from_epoch: int
    film: Film | None


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
    threads: int,
    checkpoints: Path | None = None,
    monitor: Monitor,
    **hyperparameters: Any,
) -> dict[str, Any]:
    """Train a network on `grayscale`'s data set in ``images``; write ``weights.h5``, ``history.json`` and ``film.h5``.

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
    threads : int
        Maximum number of CPU threads that compute at once.
    checkpoints : Path, optional
        As in `fit`.
    **hyperparameters
        The fields of `Hyperparameters`.

    Returns
    -------
    dict
        Measurements, which differ from run to run: ``epoch_seconds``, training and validation together, ``threads``,
        ``device_name``, facts of the engine, and ``resumed_from_epoch`` if the training was resumed.

    Raises
    ------
    DatasetError
        The file of images is missing or damaged, or does not fit the network.
    SettingError, DeviceError
        As from `load_engine`.
    EngineError
        The engine cannot train the network.
    DivergedError
        The loss is not finite.
    """
    how = Hyperparameters(**hyperparameters)
    with open_dataset(images / GRAYSCALE_NAME) as data:
        built = network_for(data, architecture)
        training = Training(built, how, draw_weights(built, seed), *read_examples(data, how.validation_fraction))
        shown = first_of_each_class(data)
    monitor.log(
        f"{network} on {data.description.title}: {len(training.train)} images train, "
        f"{len(training.valid)} validate; {built.parameter_count} parameters; {engine} on {device}"
    )
    loaded = load_engine(engine, device, threads, **(engine_settings or {}))
    if wait := loaded.first_wait():
        monitor.log(f"{engine}: {wait}")
    trained = fit(training, loaded, shown=shown, checkpoints=checkpoints, monitor=monitor)
    write_weights(output / WEIGHTS_NAME, trained.weights)
    if trained.film:
        write_film(output / FILM_NAME, trained.film)
    how_trained = {"network": network, "engine": engine, **(engine_settings or {}), "device": device, "seed": seed}
    write_history(output / HISTORY_NAME, trained.history, how_trained | asdict(how), data.description)
    resumed = {"resumed_from_epoch": trained.resumed_from_epoch} if trained.resumed_from_epoch else {}
    return {
        "epoch_seconds": [epoch.seconds for epoch in trained.history],
        "threads": threads,
        **resumed,
        "device_name": loaded.device_name(),
        **loaded.facts(),
    }


def max_output_bytes(images: Path, architecture: dict[str, Any], epochs: int, **_others: object) -> int:
    """Return the maximum size in bytes of the output and the checkpoints."""
    classes = len(describe_dataset(images / GRAYSCALE_NAME).class_names)
    # Three checkpoints, one of them unfinished, each have weights and velocity in up to float64.
    bytes_per_parameter = 4 + 3 * (8 + 8)
    of_weights = Network.build(architecture, classes).parameter_count * bytes_per_parameter
    return of_weights + epochs * EPOCH_BYTES + (1 + 3) * max_film_bytes(classes, epochs)


def fit(
    training: Training,
    engine: Engine,
    *,
    shown: ShownImages | None = None,
    checkpoints: Path | None = None,
    monitor: Monitor = SILENT,
) -> Fit:
    """Train a network on examples in memory, and report a row for each epoch.

    Parameters
    ----------
    shown : ShownImages, optional
        The test images of the film; without them there is none.
    checkpoints : Path, optional
        The folder of this training's checkpoints, the same for any number of epochs. The training resumes from the
        newest one, and writes one after each epoch. A resumed training gives the same weights and the same film to
        the byte.

    Raises
    ------
    EngineError
        The engine cannot train the network.
    DivergedError
        The loss is not finite.
    """
    how = training.hyperparameters
    start = read_checkpoint(checkpoints, how.epochs, monitor) if checkpoints else None
    if start is None or bool(start.film) != bool(shown):  # a film has every epoch
        start = Checkpoint(training.weights, training.velocity, [])
    history, film = list(start.history), start.film
    with closing(engine.trainer(replace(training, weights=start.weights, velocity=start.velocity))) as trainer:
        if history:
            monitor.log(f"resuming after epoch {len(history)} of {how.epochs}")
        for line in (*TABLE_HEAD, *(table_row(history[:count]) for count in range(1, len(history) + 1))):
            monitor.log(line)
        for number in range(len(history) + 1, how.epochs + 1):
            epoch, validation = _train_epoch(trainer, training, number, monitor)
            history.append(epoch)
            if shown or checkpoints:
                weights = trainer.weights()
            if shown:
                of_epoch = film_of_epoch(training.network, weights, validation.confusion, shown)
                film = film + of_epoch if film else of_epoch
            if checkpoints:
                write_checkpoint(checkpoints, Checkpoint(weights, trainer.velocity(), history, film))
            monitor.log(table_row(history))
        trained = trainer.weights()
    best = best_epoch(history)
    monitor.log(f"best validation accuracy {best.valid_accuracy:.4f} in epoch {best.epoch} of {how.epochs}")
    return Fit(trained, history, len(start.history), film)


def _train_epoch(trainer: Trainer, training: Training, number: int, monitor: Monitor) -> tuple[Epoch, Validation]:
    how, images = training.hyperparameters, len(training.train)
    before, total = (number - 1) * images, how.epochs * images
    clock = time.perf_counter()
    losses = trainer.train_epoch(lambda done: monitor.progress(before + done, total, "images"))
    broken = np.flatnonzero(~np.isfinite(losses))
    if broken.size:
        raise _not_finite(losses[broken[0]], f"epoch {number}, minibatch {broken[0] + 1}", how)
    validation = trainer.validate()
    if not math.isfinite(validation.loss):
        raise _not_finite(validation.loss, f"epoch {number}, validation", how)
    seconds = time.perf_counter() - clock
    sizes = np.diff([*range(0, images, how.batch_size), images])
    train_loss = float(np.average(losses, weights=sizes))
    return Epoch(number, train_loss, validation.loss, validation.accuracy, seconds), validation


def _not_finite(loss: float, where: str, how: Hyperparameters) -> DivergedError:
    return DivergedError(
        f"the loss is {loss} in {where}, with learning rate {how.learning_rate}: "
        "the weights have left the range of float32. Try a smaller learning rate."
    )
