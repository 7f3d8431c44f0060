"""Evaluate a trained network on the test images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data import dataset
from pipeline.engines.engine import load_engine
from pipeline.networks import weights
from pipeline.networks.arrays import FloatArray, LabelArray
from pipeline.networks.declaration import Network
from pipeline.networks.weights import WEIGHTS_NAME
from pipeline.progress.monitor import Monitor
from pipeline.training import predictions
from pipeline.training.examples import check_fit
from pipeline.training.history import HISTORY_NAME

METRICS_NAME = "metrics.json"
TABLE_ENTRY_BYTES = 100
"""More than an entry of the confusion matrix takes, with its share of all else in the file."""


def evaluate(
    output: Path,
    *,
    images: Path,
    trained: Path,
    architecture: dict[str, Any],
    engine: str,
    engine_settings: dict[str, Any] | None = None,
    device: str,
    threads: int,
    monitor: Monitor,
) -> dict[str, Any]:
    """Evaluate a trained network; write ``predictions.h5``, and ``metrics.json`` with what `metrics` returns.

    Parameters
    ----------
    output : Path
        The folder to write into.
    images, trained : Path
        The folders of `grayscale`'s data set and of what `train` wrote.
    architecture : dict
        The network, as `declaration.architecture` returns it.
    engine, device : str
        See `load_engine` and `Engine`; ``engine_settings`` are the engine's own.
    threads : int
        CPU threads that may compute at once.

    Returns
    -------
    dict
        ``accuracy``, for the record of the run.

    Raises
    ------
    DatasetError, WeightsError
        A file is missing, damaged or does not fit the network.
    DeviceError, EngineError
        The device is not there, or the engine cannot evaluate this network.
    """
    path = images / dataset.GRAYSCALE_NAME
    data = dataset.describe(path)
    network = Network.from_json(architecture, len(data.class_names))
    check_fit(path, data, network)
    test_images, labels = dataset.read_split(path, "test")
    probabilities = load_engine(engine, engine_settings).probabilities(
        network,
        weights.read(trained / WEIGHTS_NAME, network),
        test_images,
        device=device,
        threads=threads,
    )
    predictions.write(output / predictions.PREDICTIONS_NAME, probabilities)
    result = metrics(probabilities, labels, data.class_names)
    how = json.loads((trained / HISTORY_NAME).read_text())["trained"]
    result["evaluated"] = how | {"evaluation_engine": engine, "evaluation_device": device}
    result["data"] = {"title": data.title, "archive_sha256": data.archive_sha256}
    (output / METRICS_NAME).write_text(json.dumps(result, indent=1) + "\n")
    monitor.say(accuracy_line(result["accuracy"], data.title))
    return {"accuracy": result["accuracy"]}


def max_output_bytes(images: Path, **_others: object) -> int:
    """Return the maximum size of the result: probabilities in float32, and a table of classes by classes."""
    data = dataset.describe(images / dataset.GRAYSCALE_NAME)
    classes = len(data.class_names)
    return 4 * data.counts["test"] * classes + TABLE_ENTRY_BYTES * classes**2


def metrics(probabilities: FloatArray, labels: LabelArray, class_names: list[str]) -> dict[str, Any]:
    """Compare predicted probabilities with the true labels.

    Parameters
    ----------
    probabilities : float32 array, shape (N, classes)
    labels : uint8 array, shape (N,)

    Returns
    -------
    dict
        ``images``, ``accuracy``, ``loss`` (mean cross-entropy), ``classes`` (a list of ``name``, ``images``,
        ``precision``, ``recall``; None where there is nothing to divide by), and ``confusion_matrix``,
        in which row i, column j counts the images of class i that were taken for class j.
    """
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(labels, predicted, len(class_names))
    of_true_class = np.take_along_axis(probabilities, labels[:, None].astype(np.intp), 1)
    # A probability may underflow to 0 in float32; its logarithm must stay finite.
    loss = -np.log(np.maximum(of_true_class, np.finfo(np.float32).tiny), dtype=np.float64).mean()
    return {
        "images": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "loss": float(loss),
        "classes": [
            {
                "name": name,
                "images": int(confusion[index].sum()),
                "precision": _ratio(confusion[index, index], confusion[:, index].sum()),
                "recall": _ratio(confusion[index, index], confusion[index].sum()),
            }
            for index, name in enumerate(class_names)
        ],
        "confusion_matrix": confusion.tolist(),
    }


def confusion_matrix(labels: LabelArray, predicted: npt.NDArray[np.intp], classes: int) -> npt.NDArray[np.int64]:
    """Count, in row i and column j, the images of class i that were taken for class j.

    Parameters
    ----------
    labels, predicted : arrays of whole numbers, shape (N,)

    Returns
    -------
    int64 array, shape (classes, classes)
    """
    pairs = labels.astype(np.intp) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy_line(accuracy: float, title: str) -> str:
    """Return the article's last line; data other than CIFAR-10 is named."""
    line = f"The accuracy of this network is: {accuracy:.2f}"
    return line if title == dataset.CIFAR_TITLE else f"{line} (on {title}, not CIFAR-10)"


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
