"""Read an archive in CIFAR-10's layout, batch by batch, and make a data set of it.

The archive (https://www.cs.toronto.edu/~kriz/cifar.html, "CIFAR-10 python version") is a gzipped tar of
six batches and ``batches.meta``, each a pickle of a dict. A batch has the keys ``data``, uint8 of shape (N, 3072),
where a row is an image's 1024 red, 1024 green and 1024 blue values; and ``labels``, N whole numbers.
``batches.meta`` has ``label_names``, the classes' names. Python 2 wrote the published pickles; Python 3 and NumPy may
have written those of another archive. ``python fuzz/archive.py batch`` searches for pickles that raise anything but an
`ArchiveError`.

`read_archive` reads the archive as a stream: one batch is in memory at a time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tarfile import TarInfo
from typing import Any, BinaryIO

import numpy as np

from pipeline.data import dataset, pickles
from pipeline.data.archive import ARCHIVE_NAME
from pipeline.data.tar import MAX_BYTES, GzippedTar
from pipeline.errors import ArchiveError
from pipeline.networks.arrays import ByteArray
from pipeline.progress.monitor import Monitor

FOLDER = "cifar-10-batches-py"
META = f"{FOLDER}/batches.meta"
TRAIN_BATCHES = tuple(f"{FOLDER}/data_batch_{number}" for number in range(1, 6))
TEST_BATCHES = (f"{FOLDER}/test_batch",)
BATCHES = TRAIN_BATCHES + TEST_BATCHES
IMAGE_SHAPE = (3, 32, 32)
VALUES = 3072
"""Values of an image: three channels of 32 x 32."""
CLASS_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
"""The classes of CIFAR-10, by label."""

FETCH_ANEW = "Delete it and type `make pipeline` to fetch it anew, or `make pipeline ARCHIVE=PATH` to take another."
GIVE_ANOTHER = "Give another: `make pipeline ARCHIVE=PATH`, or type `make pipeline` to download CIFAR-10."

MAX_BATCH_BYTES = 64 << 20
"""Maximum size of a batch's pickle: some 21,000 images. A published batch has 10,000 images in 31 million bytes."""
MAX_META_BYTES = 1 << 20
MAX_NAME_BYTES = 255
"""Maximum size of a class's name in UTF-8: `pickles` does not decode longer strings."""


@dataclass(frozen=True)
class Batch:
    """One batch of the archive: uint8 arrays, images of shape (N, 3, 32, 32) and labels of shape (N,).

    ``index`` is the batch's place, from 0, among the ``total`` batches of its split, ``train`` or ``test``.
    """

    split: str
    index: int
    total: int
    images: ByteArray
    labels: ByteArray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Contents:
    """The class names and the digest of an archive, known once all of it has been read."""

    class_names: list[str]
    sha256: str


def convert(output: Path, *, archive: Path, title: str, given: Path | None = None, monitor: Monitor) -> None:
    """Write the images of ``archive / "cifar-10-python.tar.gz"`` to ``output / "images.h5"``.

    The images keep their order, batch 1 to 5.

    Parameters
    ----------
    title : str
        Title of the data (if empty: "CIFAR-10" for CIFAR-10's classes, else "images of N classes").
    given : Path, optional
        The file that the archive is a copy of, which messages name.

    Raises
    ------
    ArchiveError
        The archive is damaged or has another layout; no file is left.
    DatasetError
        The file cannot be written.
    """
    done = itertools.count(1)
    with dataset.DatasetWriter(output / dataset.IMAGES_NAME) as writer:

        def store(batch: Batch) -> None:
            size = len(batch)  # of each batch of the archive
            writer.put(batch.split, batch.index * size, batch.images, batch.labels, total=batch.total * size)
            monitor.progress(next(done), len(BATCHES), "batches")

        contents = read_archive(archive / ARCHIVE_NAME, store, given)
        writer.describe(title or _title(contents.class_names), contents.class_names, contents.sha256)


def max_output_bytes(archive: Path, **_others: object) -> int:
    """Return the size of the unpacked archive, which gzip states in the last four bytes (RFC 1952, section 2.3.1)."""
    path = archive / ARCHIVE_NAME
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        unpacked = os.pread(file.fileno(), 4, max(0, path.stat().st_size - 4))
    return min(int.from_bytes(unpacked, "little"), MAX_BYTES)


def read_archive(path: Path, visit: Callable[[Batch], None], given: Path | None = None) -> Contents:
    """Read an archive in one pass and call ``visit`` with each batch, in the archive's order.

    All batches have the same size. A batch's memory is free again once ``visit`` drops the batch. The labels are
    compared with the number of classes at the end, because ``batches.meta`` may come last. Messages name ``given``, the
    file that the archive is a copy of, if there is one.

    Raises
    ------
    ArchiveError
        The archive is damaged, incomplete or of another layout.
    """
    try:
        with _opened(path) as file:
            return _read(GzippedTar(file), visit)
    except ArchiveError as error:
        raise ArchiveError(f"{given or path}: {error} {GIVE_ANOTHER if given else FETCH_ANEW}") from None


def is_class_name(text: str) -> bool:
    """Return whether a class may have this name: a line of text of at most 255 bytes in UTF-8."""
    is_line = text.isprintable() and bool(text.strip()) and "\N{REPLACEMENT CHARACTER}" not in text
    return is_line and len(text.encode()) <= MAX_NAME_BYTES


def _title(class_names: list[str]) -> str:
    if class_names == CLASS_NAMES:
        return dataset.CIFAR_TITLE
    return f"images of {len(class_names)} {'class' if len(class_names) == 1 else 'classes'}"


def _opened(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise ArchiveError("there is no such file.")
        return path.open("rb")
    except OSError as error:
        raise ArchiveError(f"it cannot be read ({error.strerror}).") from None


def _read(archive: GzippedTar, visit: Callable[[Batch], None]) -> Contents:
    class_names: list[str] = []
    stated_size: int | None = None
    labels: dict[str, ByteArray] = {}
    others: list[str] = []
    for member in archive:
        name = member.name.removeprefix("./")  # `tar -C folder .` puts it first
        if name == META:
            if class_names:
                raise ArchiveError(f"it holds {name!r} twice.")
            class_names, stated_size = _meta(_load(archive, member, MAX_META_BYTES))
        elif name in BATCHES:
            batch = _batch(name, _load(archive, member, MAX_BATCH_BYTES))
            if name in labels:
                raise ArchiveError(f"it holds {name!r} twice.")
            labels[name] = batch.labels
            _check_equal_sizes(labels)
            visit(batch)
            del batch  # it is most of the memory, and the next batch is about to be read
        else:
            others.append(member.name)
    if not class_names or len(labels) < len(BATCHES):
        missing = next(name for name in (*BATCHES, META) if name not in labels)
        beside = f" It holds {', '.join(map(repr, others[:3]))}." if others else ""
        raise ArchiveError(f"it lacks {missing!r}; expected the Python version of CIFAR-10.{beside}")
    _check_fit(labels, class_names, stated_size)
    return Contents(class_names, archive.sha256())


def _load(archive: GzippedTar, member: TarInfo, limit: int) -> dict[str, Any]:
    content = archive.read(member, limit=limit)
    try:
        return pickles.loads(content)
    except ArchiveError as error:
        raise ArchiveError(f"in {member.name!r} {error}") from None


def _meta(content: dict[str, Any]) -> tuple[list[str], int | None]:
    """Return the classes' names, and the number of images in a batch if it is stated."""
    stated_size = content.get("num_cases_per_batch")
    if not isinstance(stated_size, int | None):
        raise ArchiveError(f"'num_cases_per_batch' in {META!r} is {_kind(stated_size)}; expected a whole number.")
    return _class_names(content.get("label_names")), stated_size


def _check_equal_sizes(labels: dict[str, ByteArray]) -> None:
    sizes = {name: len(values) for name, values in labels.items()}
    first = next(iter(sizes))
    for name, size in sizes.items():
        if size != sizes[first]:
            raise ArchiveError(
                f"{name!r} has {size:,} images, but {first!r} has {sizes[first]:,}; expected equal batches."
            )


def _check_fit(labels: dict[str, ByteArray], class_names: list[str], stated_size: int | None) -> None:
    """Compare the batches with ``batches.meta``."""
    size = len(labels[BATCHES[0]])
    if stated_size not in (None, size):
        raise ArchiveError(
            f"its batches have {size:,} images each; expected {stated_size}, 'num_cases_per_batch' in {META!r}."
        )
    most = len(class_names) - 1
    for name, values in labels.items():
        if (label := values.max()) > most:
            raise ArchiveError(f"{name!r} has the label {label}; expected 0 to {most}, a class each.")


def _class_names(listed: object) -> list[str]:
    if not isinstance(listed, list) or not 1 <= len(listed) <= 256:
        raise ArchiveError(f"'label_names' in {META!r} is {_kind(listed)}; expected a list of 1 to 256 names.")
    names = [_text(name) for name in listed]
    if len(set(names)) < len(names):
        raise ArchiveError(f"'label_names' in {META!r} has a name twice; expected a different one for each class.")
    return names


def _text(name: object) -> str:
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    if not isinstance(text, str) or not is_class_name(text):
        raise ArchiveError(f"a name in 'label_names' of {META!r} is {_kind(name)}; expected a line of text.")
    return text


def _batch(name: str, content: dict[str, Any]) -> Batch:
    split, names = ("train", TRAIN_BATCHES) if name in TRAIN_BATCHES else ("test", TEST_BATCHES)
    images = _images(name, content.get("data"))
    labels = _labels(name, _listed(name, content, "labels", len(images)))
    if content.get("filenames") is not None:
        _listed(name, content, "filenames", len(images))
    return Batch(split, names.index(name), len(names), images, labels)


def _images(name: str, data: object) -> ByteArray:
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        raise ArchiveError(f"'data' in {name!r} is {_kind(data)}; expected an array of type uint8.")
    if data.shape[1:] != (VALUES,) or not len(data):
        raise ArchiveError(f"'data' in {name!r} has shape {data.shape}; expected (N, {VALUES}), N from 1.")
    return data.reshape(-1, *IMAGE_SHAPE)


def _listed(name: str, content: dict[str, Any], key: str, size: int) -> list[object]:
    values: Any = content.get(key)
    is_list = isinstance(values, list) or (isinstance(values, np.ndarray) and values.ndim == 1)
    if not is_list or len(values) != size:
        raise ArchiveError(f"{key!r} in {name!r} is {_kind(values)}; expected a list of {size:,}.")
    return values if isinstance(values, list) else values.tolist()  # NumPy's numbers become Python's


def _labels(name: str, labels: list[object]) -> ByteArray:
    for image, label in enumerate(labels):
        if type(label) is not int or not 0 <= label <= 255:
            raise ArchiveError(f"the label of image {image} in {name!r} is {_kind(label)}; expected a class, from 0.")
    return np.array(labels, np.uint8)


def _kind(value: object) -> str:
    """Describe a value of a pickle in a few words, however large it may be."""
    match value:
        case None:
            return "missing"
        case int() | float() | bytes() | str():
            return repr(value)
        case list():
            return f"a list of {len(value):,}"
        case np.ndarray():
            return f"an array of type {value.dtype} and shape {value.shape}"
        case memoryview():
            return "a long string"
    return f"a {type(value).__name__}"
