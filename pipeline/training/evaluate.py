"""Evaluate a trained network on the test images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.data.dataset import CIFAR_TITLE, GRAYSCALE_NAME, describe_dataset, open_dataset
from pipeline.engines.engine import confusion_matrix, load_engine
from pipeline.errors import DatasetError
from pipeline.files import hdf5
from pipeline.networks.arrays import FloatArray, LabelArray
from pipeline.networks.weights import WEIGHTS_NAME, read_weights
from pipeline.progress.monitor import Monitor
from pipeline.training.examples import network_for
from pipeline.training.history import HISTORY_NAME

METRICS_NAME = "metrics.json"
PREDICTIONS_NAME = "predictions.h5"
PROBABILITIES = "probabilities"
TABLE_ENTRY_BYTES = 100
"""More than an entry of the confusion matrix takes, with its share of the rest of the file."""


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
    """Evaluate a trained network; write ``predictions.h5`` and ``metrics.json``, which has the result of `metrics`.

    ``images`` and ``trained`` are the folders of `grayscale`'s data set and of `train`'s result. The others are as in
    `train`; the engine and the device may differ from those that trained. The accuracy is returned for the record.

    Raises
    ------
    DatasetError, WeightsError
        A file is missing or damaged, or does not fit the network.
    DeviceError, EngineError
        The device is missing, or the engine cannot evaluate this network.
    """
    with open_dataset(images / GRAYSCALE_NAME) as data:
        about = data.description
        network = network_for(data, architecture)
        test_images, labels = data.read("test")
    weights = read_weights(trained / WEIGHTS_NAME, network)
    loaded = load_engine(engine, device, threads, **(engine_settings or {}))
    probabilities = loaded.probabilities(network, weights, test_images)
    write_predictions(output / PREDICTIONS_NAME, probabilities)
    result = metrics(probabilities, labels, about.class_names)
    how_trained = json.loads((trained / HISTORY_NAME).read_text())["trained"]
    result["evaluated"] = how_trained | {"evaluation_engine": engine, "evaluation_device": device}
    result["data"] = {"title": about.title, "archive_sha256": about.archive_sha256}
    (output / METRICS_NAME).write_text(json.dumps(result, indent=1) + "\n")
    monitor.log(accuracy_line(result["accuracy"], about.title))
    return {"accuracy": result["accuracy"]}


def max_output_bytes(images: Path, **_others: object) -> int:
    """Return the maximum output size in bytes: probabilities in float32, and a table of classes by classes."""
    about = describe_dataset(images / GRAYSCALE_NAME)
    classes = len(about.class_names)
    return 4 * about.counts["test"] * classes + TABLE_ENTRY_BYTES * classes**2


def metrics(probabilities: FloatArray, labels: LabelArray, class_names: list[str]) -> dict[str, Any]:
    """Compare predicted probabilities, shape (N, classes), with the true labels, shape (N,).

    Returns
    -------
    dict
        ``images``, ``accuracy``, ``loss`` (mean cross-entropy), ``classes`` (a list of ``name``, ``images``,
        ``precision``, ``recall``; None where the divisor is 0), and the `confusion_matrix`.
    """
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(labels, predicted, len(class_names))
    of_label = np.take_along_axis(probabilities, labels[:, None].astype(np.intp), 1)
    # A probability may underflow to 0 in float32; its logarithm must stay finite.
    loss = -np.log(np.maximum(of_label, np.finfo(np.float32).tiny), dtype=np.float64).mean()
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


def write_predictions(path: Path, probabilities: FloatArray) -> None:
    """Write the probabilities of the classes, shape (N, classes), as float32; the same values give the same bytes."""
    with h5py.File(path, "w") as file:
        file.create_dataset(PROBABILITIES, data=probabilities.astype(np.float32, copy=False))


def read_predictions(path: Path) -> FloatArray:
    """Read the file of `write_predictions`; raise `DatasetError` if it is missing, damaged or of another layout."""
    with hdf5.reading(path, DatasetError, f"Delete the folder {path.parent} and type `make pipeline`.") as file:
        found = hdf5.find(file, PROBABILITIES, DatasetError)
        if found is None or found.dtype != np.float32 or found.ndim != 2:
            raise DatasetError(f"it has no {PROBABILITIES} of type float32 and shape (N, classes).")
        probabilities: FloatArray = found[()]
    return probabilities


def accuracy_line(accuracy: float, title: str) -> str:
    """Return the last line that the article's program prints, with the title of data other than CIFAR-10."""
    line = f"The accuracy of this network is: {accuracy:.2f}"
    return line if title == CIFAR_TITLE else f"{line} (on {title}, not CIFAR-10)"


def _ratio(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
