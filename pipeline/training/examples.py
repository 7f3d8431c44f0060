"""The images that train a network and those that validate it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.data import dataset
from pipeline.engines.engine import Examples
from pipeline.errors import DatasetError
from pipeline.networks import arrays
from pipeline.networks.arrays import LabelArray
from pipeline.networks.declaration import Network


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
        Examples(arrays.zeros((int(chosen.sum()), *shape), np.float32), labels[chosen])
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
