"""Train a declared network on a data set, as nolearn does: split, minibatches, a row for each epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import alignment, checkpoint, dataset, engines, history_files, weights
from pipeline.checkpoint import Checkpoint
from pipeline.declaration import Hyperparameters, Network
from pipeline.engines import Engine, Examples, LabelArray
from pipeline.errors import DatasetError, EngineError
from pipeline.monitor import SILENT, Monitor
from pipeline.weights import Weights

WEIGHTS_NAME = "weights.h5"
HISTORY_NAME = "history.json"
EPOCH_BYTES = 1000
"""More than an epoch takes in all histories and checkpoints together."""


@dataclass(frozen=True)
class Epoch:
    """A row of the table: losses and accuracy are means over images."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float


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
        See `engines.load` and `engines.Engine`; ``engine_settings`` are the engine's own.
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
    loaded = engines.load(engine, engine_settings)
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
    _write_history(output / HISTORY_NAME, trained.history, how_trained, data)
    history_files.write(output, [asdict(epoch) for epoch in trained.history])
    resumed = {"resumed_from_epoch": trained.resumed_from_epoch} if trained.resumed_from_epoch else {}
    facts = {"device_name": loaded.device_name(device), **loaded.facts()}
    return {"epoch_seconds": trained.epoch_seconds, "threads": threads, **resumed, **facts}


def room(images: Path, architecture: dict[str, Any], epochs: int, **_others: object) -> int:
    """Return how many bytes the result and its checkpoints take at most.

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


def check_fit(path: Path, data: dataset.Description, network: Network) -> None:
    """Raise `DatasetError` where a network cannot take these images or tell these classes apart."""
    if data.image_shape != network.input_shape or data.dtype != "float32":
        raise DatasetError(
            f"{path} holds images of shape {data.image_shape} and type {data.dtype}; "
            f"the network takes {network.input_shape} and float32. Change input_shape in its declaration."
        )
    if len(data.class_names) != network.classes:
        raise DatasetError(
            f"{path} holds {len(data.class_names)} classes, and the network's last layer has {network.classes} units. "
            f"Leave {network.layers[-1].name}_num_units out of its declaration: then it has a unit for each class."
        )


def read_examples(path: Path, validation_fraction: float) -> tuple[Examples, Examples]:
    """Read the training images, parted into those that train and those that validate.

    They are read piece by piece, so that memory holds each image once.
    """
    labels = dataset.read_labels(path, "train")
    validates = split(labels, validation_fraction)
    shape = dataset.describe(path).image_shape
    parts = [
        Examples(alignment.zeros((int(chosen.sum()), *shape), np.float32), labels[chosen])
        for chosen in (~validates, validates)
    ]
    filled = [0, 0]
    for start, chunk, _ in dataset.read_chunks(path, "train"):
        for index, examples in enumerate(parts):
            rows = chunk[validates[start : start + len(chunk)] == bool(index)]
            examples.images[filled[index] : filled[index] + len(rows)] = rows
            filled[index] += len(rows)
    return parts[0], parts[1]


def split(labels: LabelArray, validation_fraction: float) -> npt.NDArray[np.bool_]:
    """Choose the images to hold out for validation: nolearn's ``TrainSplit``.

    That is the first of scikit-learn's stratified folds, without shuffling: of each class the first
    images in file order, as many as the fold's share of the sorted labels has.

    Returns
    -------
    bool array, shape (N,)
        True for an image that validates.
    """
    folds = round(1 / validation_fraction)
    _, first_seen, classes = np.unique(labels, return_index=True, return_inverse=True)
    by_appearance = np.argsort(np.argsort(first_seen))[classes]
    shares = np.bincount(np.sort(by_appearance)[::folds], minlength=len(first_seen))
    chosen = np.zeros(len(labels), bool)
    for label, share in enumerate(shares):
        chosen[np.flatnonzero(by_appearance == label)[:share]] = True
    return chosen


def _run_epochs(
    trainer: engines.Trainer,
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
    for line in (*_HEADER, *(_row(history[: index + 1], seconds[index]) for index in range(len(history)))):
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
        monitor.say(_row(history, seconds[-1]))
    best = _best(history)
    monitor.say(f"best validation accuracy {best.valid_accuracy:.4f} in epoch {best.epoch} of {how.epochs}")
    return history, seconds


_HEADER = (
    "  epoch    train loss    valid loss    train/val    valid acc      dur",
    "-------  ------------  ------------  -----------  -----------  -------",
)
"""The table that nolearn prints."""


def _row(history: Sequence[Epoch], seconds: float) -> str:
    """Put the last epoch into a line, with a mark where none before it was as accurate on the validation images."""
    epoch = history[-1]
    ratio = epoch.train_loss / epoch.valid_loss if epoch.valid_loss else math.nan
    return (
        f"{epoch.epoch:7d}  {epoch.train_loss:12.5f}  {epoch.valid_loss:12.5f}  {ratio:11.5f}"
        f"  {epoch.valid_accuracy:11.5f}  {seconds:6.2f}s"
        f"{' *' if _best(history) is epoch else ''}"
    )


def _best(history: Sequence[Epoch]) -> Epoch:
    return max(history, key=lambda epoch: epoch.valid_accuracy)


def _check_finite(losses: npt.NDArray[np.float64], epoch: int, learning_rate: float) -> None:
    broken = np.flatnonzero(~np.isfinite(losses))
    if broken.size:
        raise _lost(losses[broken[0]], f"epoch {epoch}, minibatch {broken[0] + 1}", learning_rate)


def _lost(loss: float, where: str, learning_rate: float) -> EngineError:
    return EngineError(
        f"the loss is {loss} in {where}, with learning rate {learning_rate}: "
        "the weights have left the range of float32. Try a smaller learning rate."
    )


def _write_history(path: Path, history: list[Epoch], how_trained: dict[str, Any], data: dataset.Description) -> None:
    document = {
        "trained": how_trained,
        "data": {"title": data.title, "class_names": data.class_names, "archive_sha256": data.archive_sha256},
        "epochs": [asdict(epoch) for epoch in history],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
