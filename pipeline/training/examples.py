"""Choose the images that train a network and those that validate it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.dataset import Dataset
from pipeline.engines.engine import Examples
from pipeline.errors import DatasetError
from pipeline.networks import arrays
from pipeline.networks.arrays import LabelArray
from pipeline.networks.declaration import Network


def network_for(data: Dataset, architecture: dict[str, Any]) -> Network:
    """Build a network for a data set; raise `DatasetError` if the images or the classes do not fit it."""
    about = data.description
    network = Network.build(architecture, len(about.class_names))
    if about.image_shape != network.input_shape or about.dtype != "float32":
        raise DatasetError(
            f"{data.path} holds images of shape {about.image_shape} and type {about.dtype}; "
            f"the network takes {network.input_shape} and float32. Change input_shape in its declaration."
        )
    if len(about.class_names) != network.classes:
        raise DatasetError(
            f"{data.path} holds {len(about.class_names)} classes, and the network's last layer has {network.classes} "
            f"units. Leave {network.layers[-1].name}_num_units out of its declaration: then it has a unit for each "
            "class."
        )
    return network


def read_examples(data: Dataset, validation_fraction: float) -> tuple[Examples, Examples]:
    """Read the training images, split into those that train and those that validate.

    They are read chunk by chunk, so that memory holds each image once.
    """
    labels = data.labels("train")
    validates = split(labels, validation_fraction)
    shape = data.description.image_shape
    train, valid = (
        Examples(arrays.zeros((int(chosen.sum()), *shape), np.float32), labels[chosen])
        for chosen in (~validates, validates)
    )
    for start, chunk, _ in data.chunks("train"):
        for examples, chosen in ((train, ~validates), (valid, validates)):
            first, of_chunk = chosen[:start].sum(), chosen[start : start + len(chunk)]
            examples.images[first : first + of_chunk.sum()] = chunk[of_chunk]
    return train, valid


def split(labels: LabelArray, validation_fraction: float) -> npt.NDArray[np.bool_]:
    """Choose the images to hold out for validation, as nolearn's ``TrainSplit`` does.

    They are the first of scikit-learn's stratified folds, without shuffling: of each class the first images in file
    order, as many as are of this class among the labels 0, n, 2n ... of the sorted labels, with n folds. The result is
    a bool array, shape (N,).
    """
    folds = round(1 / validation_fraction)
    _, first_seen, classes = np.unique(labels, return_index=True, return_inverse=True)
    by_appearance = np.argsort(np.argsort(first_seen))[classes]
    shares = np.bincount(np.sort(by_appearance)[::folds], minlength=len(first_seen))
    validates = np.zeros(len(labels), bool)
    for label, share in enumerate(shares):
        validates[np.flatnonzero(by_appearance == label)[:share]] = True
    return validates
