"""Write images of your own as an archive in CIFAR-10's layout, which `pipeline.data.cifar` reads."""

from __future__ import annotations

import gzip
import io
import pickle
import reprlib
import tarfile
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.cifar import BATCHES, IMAGE_SHAPE, MAX_BATCH_BYTES, MAX_NAME_BYTES, META, VALUES, is_class_name
from pipeline.data.dataset import MAX_CLASSES
from pipeline.errors import ArchiveError
from pipeline.files.whole_file import writing
from pipeline.networks.arrays import ByteArray

_Examples = tuple[ByteArray, ByteArray]

MAX_BATCH_IMAGES = MAX_BATCH_BYTES // (VALUES + 300)
"""An image takes its values and less than 300 bytes for its label and the name of its file."""
PROTOCOL = 3
"""The lowest protocol of `pickle` that has bytes: protocol 2 writes them as text, which is half as long again."""


def write_archive(path: str | Path, images: npt.ArrayLike, labels: npt.ArrayLike, class_names: Sequence[str]) -> int:
    """Write images as an archive of five training batches and a test batch of equal size.

    The images of each class are dealt to the six batches in turn, so that the batches differ by at most one image of a
    class. Inside a batch the classes are mixed evenly: training takes the images in their order, and learns little from
    images sorted by class. If N is no multiple of six, up to five images are left out, the last of the largest classes.
    The same images give the same archive.

    Parameters
    ----------
    path : str or Path
        Path of the archive, such as ``mine.tar.gz``; a missing folder is made.
    images : uint8 array, shape (N, 3, 32, 32)
        Red, green and blue, from 0 to 255; N from 6 to about 119,000.
    labels : array of whole numbers, shape (N,)
        The index of each image's class in ``class_names``.
    class_names : sequence of str
        A different name for each class, 1 to 256 of them.

    Returns
    -------
    int
        Number of images that were left out.

    Raises
    ------
    ArchiveError
        An argument is not as described, or the file cannot be written; no file is left.
    """
    colors, classes = _checked_examples(images, labels, len(_checked_names(class_names)))
    most = len(BATCHES) * MAX_BATCH_IMAGES
    if not len(BATCHES) <= len(colors) <= most:
        raise ArchiveError(f"there are {len(colors):,} images; expected {len(BATCHES)} to {most:,}, for six batches.")
    write_batches(path, [(colors[rows], classes[rows]) for rows in _dealt(classes)], class_names)
    return len(colors) % len(BATCHES)


def write_batches(
    path: str | Path, batches: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], class_names: Sequence[str]
) -> None:
    """Write five training batches and a test batch as an archive; raise what `write_archive` raises.

    Each batch is a pair of images and labels, as in `write_archive`; all have the same number of images, 1 to about
    19,900.
    """
    names = _checked_names(class_names)
    if len(batches) != len(BATCHES):
        raise ArchiveError(f"there are {len(batches)} batches; expected six: five to train on and one to test on.")
    checked = [_checked_batch(number, *batch, len(names)) for number, batch in enumerate(batches, start=1)]
    size = len(checked[0][1])
    for number, (_, labels) in enumerate(checked, start=1):
        if len(labels) != size:
            raise ArchiveError(
                f"batch {number} has {len(labels):,} images, but batch 1 has {size:,}; expected equal batches."
            )
    # Bytes as keys and names: pickle.load(file, encoding="bytes") returns them of the published archive, too.
    members: dict[str, dict[bytes, Any]] = {
        META: {b"num_cases_per_batch": size, b"label_names": [name.encode() for name in names], b"num_vis": VALUES}
    }
    for name, (images, labels) in zip(BATCHES, checked, strict=True):
        members[name] = {
            b"batch_label": name.rpartition("/")[2].encode(),
            b"labels": labels.tolist(),
            b"data": np.ascontiguousarray(images.reshape(size, VALUES)),
            b"filenames": [f"{names[label]}_{image:06d}.png".encode() for image, label in enumerate(labels)],
        }
    write_members(path, {name: pickle.dumps(content, PROTOCOL) for name, content in members.items()})


def write_members(path: str | Path, members: Mapping[str, bytes]) -> None:
    """Write a gzipped tar of the given files, without times or owners, or raise `ArchiveError` and leave no file."""
    with (
        writing(Path(path), ArchiveError) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _checked_names(class_names: Iterable[str]) -> list[str]:
    has_order = isinstance(class_names, Iterable) and not isinstance(class_names, str | Set | Mapping)
    names = list(class_names) if has_order else []
    if not 1 <= len(names) <= MAX_CLASSES:
        raise ArchiveError(
            f"class_names is {reprlib.repr(class_names)}; expected a list of 1 to {MAX_CLASSES} names, such as "
            "['cat', 'dog']."
        )
    for label, name in enumerate(names):
        if not isinstance(name, str) or not is_class_name(name):
            raise ArchiveError(
                f"class_names[{label}] is {reprlib.repr(name)}; expected a line of text, up to {MAX_NAME_BYTES} bytes "
                "in UTF-8."
            )
        if name in names[:label]:
            raise ArchiveError(f"class_names has {name!r} twice; expected a different name for each class.")
    return names


def _checked_batch(number: int, images: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> _Examples:
    try:
        checked = _checked_examples(images, labels, classes)
    except ArchiveError as error:
        raise ArchiveError(f"batch {number}: {error}") from None
    if len(checked[0]) > MAX_BATCH_IMAGES:
        raise ArchiveError(f"batch {number} has {len(checked[0]):,} images; expected at most {MAX_BATCH_IMAGES:,}.")
    return checked


def _checked_examples(images: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> _Examples:
    colors, numbers = _as_array("images", images), _as_array("labels", labels)
    if colors.shape[1:] != IMAGE_SHAPE or not len(colors):
        raise ArchiveError(
            f"images has the shape {colors.shape}; expected (N, 3, 32, 32), N from 1.{_remedy(colors.shape)}"
        )
    if colors.dtype != np.uint8:
        raise ArchiveError(
            f"images has the type {colors.dtype}; expected uint8. Scale the values, so that they go from 0, black, "
            "to 255, and give images.astype(np.uint8)."
        )
    if numbers.shape != colors.shape[:1]:
        raise ArchiveError(
            f"labels has the shape {numbers.shape}; expected ({len(colors)},), a whole number for each image."
        )
    if not np.issubdtype(numbers.dtype, np.integer):
        raise ArchiveError(
            f"labels has the type {numbers.dtype}; expected whole numbers, each the index of a name in class_names."
        )
    beyond = np.flatnonzero((numbers < 0) | (numbers >= classes))
    if beyond.size:
        raise ArchiveError(
            f"labels[{beyond[0]}] is {numbers[beyond[0]]}; expected 0 to {classes - 1}, each the index of a name in "
            "class_names."
        )
    return colors, numbers.astype(np.uint8)


def _as_array(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:
        raise ArchiveError(f"{name} has parts that differ in shape; expected the same shape for each image.") from None


def _remedy(shape: tuple[int, ...]) -> str:
    """Return how to convert images of another usual shape."""
    match shape:
        case (_, 32, 32, 3):
            return " Give images.transpose(0, 3, 1, 2): colors come before rows and columns."
        case (_, 32, 32):
            return " Give images[:, None].repeat(3, axis=1): gray as red, green and blue."
    return ""


def _dealt(labels: ByteArray) -> list[npt.NDArray[np.intp]]:
    """Deal images to the batches; return the rows of each batch in order."""
    kept = _mixed(labels)[: len(labels) - len(labels) % len(BATCHES)]
    by_class = kept[np.argsort(labels[kept], kind="stable")]
    dealt = [by_class[batch :: len(BATCHES)] for batch in range(len(BATCHES))]
    return [rows[_mixed(labels[rows])] for rows in dealt]


def _mixed(labels: ByteArray) -> npt.NDArray[np.intp]:
    """Return an order of the images in which each class is spread evenly and keeps the order of its images."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    place_in_class = np.empty(len(labels))
    place_in_class[by_class] = np.arange(len(labels)) - np.repeat(counts.cumsum() - counts, counts)
    return np.lexsort((labels, (place_in_class + 0.5) / counts[labels]))
