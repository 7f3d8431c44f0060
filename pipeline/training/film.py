"""Keep what a film of learning shows of each epoch: the first layer, the confusion, and a few test images.

::

    film.h5
    ├── filters        (epochs, units, rows, columns) uint8: weights w of the first layer, as round(127 w / scale) + 128
    ├── scales         (epochs, units) float32: the largest of a unit's weights, without its sign
    ├── confusion      (epochs, classes, classes) uint32: of the validation images
    ├── images         (images,) int64: indices of the test images that are shown
    └── probabilities  (epochs, images, classes) float32: theirs

There are as many units as `FILTERS` and `FILTER_BYTES` allow, and none where the weights form no picture. The same
training gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from pipeline.data.dataset import Dataset
from pipeline.errors import FilmError
from pipeline.files import hdf5
from pipeline.networks.arrays import ByteArray, FloatArray, IntArray
from pipeline.networks.declaration import Network
from pipeline.networks.first_layer import first_layer_pictures
from pipeline.networks.forward import layer_outputs
from pipeline.networks.weights import Weights

FILM_NAME = "film.h5"

FILTERS = 16
"""Maximum number of units whose weights are kept."""

FILTER_BYTES = 8192
"""Maximum size of their pictures, for each epoch: 8 of the article's MLP, of 32x32 pixels."""

SHOWN = 10
"""Maximum number of test images whose probabilities are kept."""

HDF5_BYTES = 5000
"""More than a file of HDF5 takes beside the values of a film."""

LAYOUT = {
    "filters": (np.uint8, ("epochs", "units", "rows", "columns")),
    "scales": (np.float32, ("epochs", "units")),
    "confusion": (np.uint32, ("epochs", "classes", "classes")),
    "images": (np.int64, ("images",)),
    "probabilities": (np.float32, ("epochs", "images", "classes")),
}
"""The type and the axes of each array."""


@dataclass(frozen=True)
class Film:
    """The arrays of the module's table, for the epochs so far."""

    filters: ByteArray
    scales: FloatArray
    confusion: npt.NDArray[np.uint32]
    images: IntArray
    probabilities: FloatArray

    def __add__(self, later: Film) -> Film:
        """Return a film of these epochs and of later ones, which show the same images."""
        parts = {name: (getattr(self, name), getattr(later, name)) for name in LAYOUT if name != "images"}
        return replace(self, **{name: np.concatenate(pair) for name, pair in parts.items()})


@dataclass(frozen=True)
class ShownImages:
    """Test images, shape (n, ...), and their indices in the file, int64, shape (n,)."""

    indices: IntArray
    images: FloatArray


def first_of_each_class(data: Dataset) -> ShownImages:
    """Read the first test image of each class, in file order, for the first ten classes that occur."""
    _, first_seen = np.unique(data.labels("test"), return_index=True)
    indices = np.sort(first_seen)[:SHOWN].astype(np.int64)
    return ShownImages(indices, np.concatenate([data.read("test", slice(index, index + 1))[0] for index in indices]))


def film_of_epoch(network: Network, weights: Weights, confusion: IntArray, shown: ShownImages) -> Film:
    """Return the film of one epoch, from the weights after it and the confusion matrix of its validation."""
    filters, scales = _filters(first_layer_pictures(network, weights, FILTERS))
    probabilities = layer_outputs(network, weights, shown.images)[-1]
    return Film(filters[None], scales[None], confusion.astype(np.uint32)[None], shown.indices, probabilities[None])


def max_film_bytes(classes: int, epochs: int) -> int:
    """Return the maximum size of a film in a file, in bytes."""
    return HDF5_BYTES + epochs * (FILTER_BYTES + 4 * (FILTERS + classes**2 + SHOWN * classes))


def write_film(path: Path, film: Film) -> None:
    """Write a film to an HDF5 file; the same film gives the same bytes."""
    with h5py.File(path, "w") as file:
        for name, values in vars(film).items():
            file.create_dataset(name, data=values)


def read_film(path: Path) -> Film:
    """Read the file of `write_film`; raise `FilmError` if it is missing, damaged or of another layout."""
    advice = "Train the network again: `make verify` withdraws damaged results, and `make pipeline` makes them again."
    with hdf5.reading(path, FilmError, advice) as file:
        sizes: dict[str, int] = {}
        return Film(**{name: _read_one(file, name, sizes) for name in LAYOUT})


def _filters(pictures: FloatArray | None) -> tuple[ByteArray, FloatArray]:
    """Return the pictures to keep, in bytes, and the largest weight of each."""
    if pictures is None:
        return np.empty((0, 0, 0), np.uint8), np.empty(0, np.float32)
    _, rows, columns = pictures.shape
    kept = pictures[: FILTER_BYTES // (rows * columns)].astype(np.float32)
    scales = np.abs(kept).max((1, 2))
    divisors = np.maximum(scales, np.finfo(np.float32).tiny)[:, None, None]
    return (np.rint(127 * (kept / divisors)) + 128).astype(np.uint8), scales


def _read_one(file: h5py.File, name: str, sizes: dict[str, int]) -> npt.NDArray[Any]:
    """Read an array whose axes have the sizes that are known, and add those of its other axes."""
    kind, axes = LAYOUT[name]
    expected = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
    stored = hdf5.find(file, name, FilmError)
    if stored is None:
        raise FilmError(f"it lacks {name!r}; expected it with shape ({expected}).")
    for axis, size in zip(axes, stored.shape, strict=False):
        sizes.setdefault(axis, size)
    if stored.dtype != kind or stored.shape != tuple(sizes.get(axis) for axis in axes):
        raise FilmError(
            f"{name!r} has shape {stored.shape} and type {stored.dtype}; expected ({expected}) and {np.dtype(kind)}."
        )
    values: npt.NDArray[Any] = stored[()]
    if not np.isfinite(values).all():
        raise FilmError(f"{name!r} holds values that are not finite.")
    return values
