"""Read and write HDF5 files of images and labels, in one layout for color and for grayscale.

::

    /                  attributes: title, class_names, archive_sha256
    ├── train/images   (50000, 3, 32, 32) uint8 in color;
    │                  (50000, 1024) or (50000, 1, 32, 32) float32 in grayscale
    ├── train/labels   (50000,) uint8, each the index of a class's name
    ├── test/images    (10000, ...)
    └── test/labels    (10000,)

The values are stored contiguous and uncompressed: gzip saves 8% of CIFAR-10, whose archive has 170 of 186 million
bytes, and each reader would unpack it again. The same images give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import h5py
import numpy as np

from pipeline.errors import DatasetError
from pipeline.files import hdf5
from pipeline.networks.arrays import ByteArray, ImageArray

IMAGES_NAME = "images.h5"
GRAYSCALE_NAME = "grayscale.h5"
SPLITS = ("train", "test")
MAX_CLASSES = 256
"""Number of values that a label can have: it is a byte."""
CIFAR_TITLE = "CIFAR-10"
"""Title of CIFAR-10 itself. Results on data with another title name that title."""


@dataclass(frozen=True)
class Description:
    """Facts on a file of images: ``class_names`` by label, ``counts`` of images by split, the shape of one image."""

    title: str
    class_names: list[str]
    archive_sha256: str
    counts: dict[str, int]
    image_shape: tuple[int, ...]
    dtype: str


class DatasetWriter:
    """Writes a file of images; removes it if the ``with`` block fails. Raises `DatasetError` if it cannot write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._writing():
            path.unlink(missing_ok=True)
            self._file = h5py.File(path, "w-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            with self._writing():
                self._file.close()
        else:
            with suppress(OSError, RuntimeError):
                self._file.close()
            self._path.unlink(missing_ok=True)

    def put(self, split: str, start: int, images: ImageArray, labels: ByteArray, *, total: int) -> None:
        """Write images of a split, which has ``total``, from index ``start`` on; chunks may come in any order."""
        with self._writing():
            for name, values in ((f"{split}/images", images), (f"{split}/labels", labels)):
                if name not in self._file:
                    self._file.create_dataset(name, (total, *values.shape[1:]), values.dtype, track_times=False)
                self._file[name][start : start + len(values)] = values

    def describe(self, title: str, class_names: list[str], archive_sha256: str) -> None:
        """Write the attributes; see `Description`."""
        with self._writing():
            self._file.attrs.update(title=title, class_names=class_names, archive_sha256=archive_sha256)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            raise DatasetError(
                f"{self._path} cannot be written ({hdf5.cause(error)}). "
                "Check that its folder exists and that the disk has space, then run the same command again."
            ) from None


def describe_dataset(path: Path) -> Description:
    """Return the description of a file of images; raise what `open_dataset` raises."""
    with open_dataset(path) as data:
        return data.description


@contextmanager
def open_dataset(path: Path) -> Iterator[Dataset]:
    """Open a file of images for reading.

    Raises
    ------
    DatasetError
        The file is missing, damaged or of another layout.
    """
    with ExitStack() as stack:
        with _reading(path):  # ends before the caller's block: an error there says nothing on this file
            file = stack.enter_context(h5py.File(path, "r"))
            splits = {split: _checked_split(file, split) for split in SPLITS}
            data = Dataset(path, _description(file, splits), splits)
        yield data


class _Split(NamedTuple):
    images: h5py.Dataset
    labels: h5py.Dataset


@dataclass(frozen=True)
class Dataset:
    """An open file of images; its methods raise `DatasetError` where the file is damaged."""

    path: Path
    description: Description
    _splits: dict[str, _Split]

    def read(self, split: str, rows: slice = np.s_[:]) -> tuple[ImageArray, ByteArray]:
        """Read images of a split, shape (N, ...), and their labels, shape (N,)."""
        labels = self.labels(split, rows)
        with _reading(self.path):
            return self._split(split).images[rows], labels

    def labels(self, split: str, rows: slice = np.s_[:]) -> ByteArray:
        """Read labels of a split, shape (N,)."""
        stored, classes = self._split(split).labels, len(self.description.class_names)
        with _reading(self.path):
            labels: ByteArray = stored[rows]
            if labels.max() >= classes:
                raise DatasetError(f"{stored.name!r} holds {labels.max()}; expected 0 to {classes - 1}.")
            return labels

    def chunks(self, split: str, rows: int = 256) -> Iterator[tuple[int, ImageArray, ByteArray]]:
        """Read a split chunk by chunk: yield the index of the chunk's first image, the images and their labels.

        Memory stays at ``rows`` images; 256 of CIFAR-10, 0.8 MB in color and 1 MB in gray, fit the cache of a core.
        """
        for start in range(0, len(self._split(split).labels), rows):
            yield start, *self.read(split, slice(start, start + rows))

    def _split(self, split: str) -> _Split:
        if split not in self._splits:
            raise DatasetError(f"there is no split {split!r}; expected {' or '.join(SPLITS)}.")
        return self._splits[split]


def _reading(path: Path) -> AbstractContextManager[None]:
    return hdf5.errors_as(path, DatasetError, f"Delete the folder {path.parent} and type `make pipeline`.")


def _description(file: h5py.File, splits: dict[str, _Split]) -> Description:
    kinds = {(images.shape[1:], images.dtype.name) for images, _ in splits.values()}
    if len(kinds) > 1:
        raise DatasetError(f"training and test images differ in shape or type: {sorted(kinds)}; expected the same.")
    image_shape, dtype = kinds.pop()
    counts = {name: len(split.labels) for name, split in splits.items()}
    return Description(**_attributes(file), counts=counts, image_shape=image_shape, dtype=dtype)


def _checked_split(file: h5py.File, split: str) -> _Split:
    images, labels = (_stored(file, f"{split}/{name}") for name in ("images", "labels"))
    if images.dtype not in (np.uint8, np.float32) or images.ndim < 2 or not len(images):
        raise DatasetError(
            f"{images.name!r} has shape {images.shape} and type {images.dtype}; "
            "expected (N, ...), N from 1, and uint8 or float32."
        )
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise DatasetError(
            f"{labels.name!r} has shape {labels.shape} and type {labels.dtype}; expected {images.shape[:1]} and uint8."
        )
    return _Split(images, labels)


def _stored(file: h5py.File, name: str) -> h5py.Dataset:
    stored = hdf5.find(file, name, DatasetError)
    if stored is None:
        raise DatasetError(f"it lacks the data set {name!r}.")
    return stored


def _attributes(file: h5py.File) -> dict[str, Any]:
    """Return the title, the class names and the archive's digest."""
    found = {name: file.attrs.get(name) for name in ("title", "class_names", "archive_sha256")}
    for name, value in found.items():
        if value is None:
            raise DatasetError(f"it lacks the attribute {name!r}.")
        if name != "class_names" and not isinstance(value, str):
            raise DatasetError(f"its attribute {name!r} is of type {type(value).__name__}; expected text.")
    class_names = list(np.atleast_1d(found["class_names"]))
    if not 1 <= len(class_names) <= MAX_CLASSES or not all(isinstance(name, str) for name in class_names):
        raise DatasetError(f"its attribute 'class_names' is no list of 1 to {MAX_CLASSES} names.")
    return found | {"class_names": class_names}
