"""The HDF5 files that hold images: one layout for color and for grayscale, written once, read often.

::

    /                  attributes: title, class_names, archive_sha256
    ├── train/images   (50000, 3, 32, 32) uint8 in color;
    │                  (50000, 1024) or (50000, 1, 32, 32) float32 in grayscale
    ├── train/labels   (50000,) uint8, each the index of a class's name
    ├── test/images    (10000, ...)
    └── test/labels    (10000,)

The values lie in one piece and as they are: compression saves at most 20% of such images, and reading
takes several times as long. The same images give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from pipeline.errors import DatasetError
from pipeline.files import hdf5
from pipeline.networks.arrays import ByteArray, ImageArray

IMAGES_NAME = "images.h5"
GRAYSCALE_NAME = "grayscale.h5"
SPLITS = ("train", "test")
MAX_CLASSES = 256
"""As many as a label, which is a byte, can tell apart."""
CIFAR_TITLE = "CIFAR-10"
"""The title of CIFAR-10 itself; results on other data say so."""


@dataclass(frozen=True)
class Description:
    """What a file of images holds.

    Parameters
    ----------
    title : str
        What the data is called.
    class_names : list of str
        By label.
    archive_sha256 : str
        Digest of the archive that the images came from.
    counts : dict
        Number of images by split.
    image_shape : tuple of int
        Shape of one image.
    dtype : str
        ``uint8`` or ``float32``.
    """

    title: str
    class_names: list[str]
    archive_sha256: str
    counts: dict[str, int]
    image_shape: tuple[int, ...]
    dtype: str


class Writer:
    """Writes a file of images; should the ``with`` block fail, there is no file.

    Raises
    ------
    DatasetError
        The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored: dict[str, h5py.Dataset] = {}

    def __enter__(self) -> Writer:
        with self._writing():
            self._path.unlink(missing_ok=True)
            self._file = h5py.File(self._path, "w-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            with self._writing():
                self._file.close()
        else:
            with suppress(OSError, RuntimeError):
                self._file.close()
            self._path.unlink(missing_ok=True)

    def put(self, split: str, start: int, images: ImageArray, labels: ByteArray, *, total: int) -> None:
        """Write some images of a split, in any order.

        Parameters
        ----------
        start : int
            Place of the first of them in the split, which has ``total``.
        images : array, shape (N, ...)
        labels : uint8 array, shape (N,)
        """
        with self._writing():
            for name, values in ((f"{split}/images", images), (f"{split}/labels", labels)):
                if name not in self._stored:
                    shape = (total, *values.shape[1:])
                    self._stored[name] = self._file.create_dataset(name, shape, values.dtype, track_times=False)
                self._stored[name][start : start + len(values)] = values

    def describe(self, title: str, class_names: list[str], archive_sha256: str) -> None:
        """Write what the images are; see `Description`."""
        with self._writing():
            self._file.attrs["title"] = title
            self._file.attrs["class_names"] = class_names
            self._file.attrs["archive_sha256"] = archive_sha256

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            raise DatasetError(
                f"{self._path} cannot be written ({hdf5.cause(error)}). "
                "See that its folder is there and has room, then type the same again."
            ) from None


def describe(path: Path) -> Description:
    """Return what a file of images holds.

    Raises
    ------
    DatasetError
        The file is missing, damaged or of another layout.
    """
    with _reading(path) as file:
        return _description(file)


def read_split(path: Path, split: str) -> tuple[ImageArray, ByteArray]:
    """Read all images of a split and their labels.

    Returns
    -------
    images : array, shape (N, ...) and type as `describe` tells
    labels : uint8 array, shape (N,)

    Raises
    ------
    DatasetError
        The file is missing, damaged or of another layout.
    """
    with _reading(path) as file:
        return _open_split(file, split).read()


def read_labels(path: Path, split: str) -> ByteArray:
    """Read the labels of a split, without its images.

    Raises
    ------
    DatasetError
        The file is missing, damaged or of another layout.
    """
    with _reading(path) as file:
        return _open_split(file, split).read_labels()


def read_chunks(path: Path, split: str, rows: int = 256) -> Iterator[tuple[int, ImageArray, ByteArray]]:
    """Read a split piece by piece: yield the place of the first image, the images and their labels.

    Memory stays at ``rows`` images. With 256 of CIFAR-10 a piece fits a core's cache.

    Raises
    ------
    DatasetError
        The file is missing, damaged or of another layout.
    """
    with _reading(path) as file:
        stored = _open_split(file, split)
        for start in range(0, len(stored), rows):
            yield start, *stored.read(slice(start, start + rows))


def _reading(path: Path) -> AbstractContextManager[h5py.File]:
    return hdf5.reading(path, DatasetError, f"Delete the folder {path.parent} and type `make pipeline`.")


@dataclass(frozen=True)
class _Split:
    """A split as it lies in the file; its images and labels are as they should be."""

    images: h5py.Dataset
    labels: h5py.Dataset
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: slice = np.s_[:]) -> tuple[ImageArray, ByteArray]:
        return self.images[rows], self.read_labels(rows)

    def read_labels(self, rows: slice = np.s_[:]) -> ByteArray:
        labels: ByteArray = self.labels[rows]
        if labels.max() >= self.classes:
            raise DatasetError(f"{self.labels.name!r} holds {labels.max()}; expected 0 to {self.classes - 1}.")
        return labels


def _open_split(file: h5py.File, split: str) -> _Split:
    if split not in SPLITS:
        raise DatasetError(f"there is no split {split!r}; expected {' or '.join(SPLITS)}.")
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
    return _Split(images, labels, classes=len(_class_names(file)))


def _stored(file: h5py.File, name: str) -> h5py.Dataset:
    stored = hdf5.find(file, name)
    if stored is None:
        raise DatasetError(f"it lacks the data set {name!r}.")
    if problem := hdf5.misplaced(stored):
        raise DatasetError(f"{name!r} {problem}; expected them in one piece.")
    return stored


def _text(file: h5py.File, name: str) -> str:
    value = _attribute(file, name)
    if not isinstance(value, str):
        raise DatasetError(f"its attribute {name!r} is of type {type(value).__name__}; expected text.")
    return value


def _class_names(file: h5py.File) -> list[str]:
    names = list(np.atleast_1d(_attribute(file, "class_names")))
    if not 1 <= len(names) <= MAX_CLASSES or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"its attribute 'class_names' is no list of 1 to {MAX_CLASSES} names.")
    return names


def _attribute(file: h5py.File, name: str) -> Any:
    if name not in file.attrs:
        raise DatasetError(f"it lacks the attribute {name!r}.")
    return file.attrs[name]


def _description(file: h5py.File) -> Description:
    images = {split: _open_split(file, split).images for split in SPLITS}
    kinds = {(stored.shape[1:], stored.dtype.name) for stored in images.values()}
    if len(kinds) > 1:
        raise DatasetError(f"training and test images differ in shape or type: {sorted(kinds)}; expected the same.")
    image_shape, dtype = kinds.pop()
    return Description(
        title=_text(file, "title"),
        class_names=_class_names(file),
        archive_sha256=_text(file, "archive_sha256"),
        counts={split: len(stored) for split, stored in images.items()},
        image_shape=image_shape,
        dtype=dtype,
    )
