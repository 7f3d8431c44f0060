"""From color to grayscale: flat for the MLP, two-dimensional for the CNN.

A pixel's gray is 0.299 R + 0.587 G + 0.114 B, the luma of ITU-R Recommendation BT.601, divided by 255
and less 0.5: from -0.5, black, to 0.5, white.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pipeline.data import dataset
from pipeline.data.dataset import Description
from pipeline.errors import DatasetError
from pipeline.networks.arrays import ByteArray, FloatArray
from pipeline.progress.monitor import Monitor

_THOUSANDTHS = np.array([299, 587, 114], np.float32)
_HALF = np.float32(127_500)
_WHITE = np.float32(255_000)


def make_flat(output: Path, *, images: Path, monitor: Monitor) -> None:
    """Write the images of ``images / "images.h5"`` in gray, (N, 1024), to ``output / "grayscale.h5"``.

    Raises
    ------
    DatasetError
        There are no color images, or the file cannot be written.
    """
    description = _describe_color(images / dataset.IMAGES_NAME)
    _, height, width = description.image_shape
    _make(output, images, description, (height * width,), monitor)


def make_2d(output: Path, *, images: Path, monitor: Monitor) -> None:
    """Write the images of ``images / "images.h5"`` in gray, (N, 1, 32, 32), to ``output / "grayscale.h5"``.

    Raises
    ------
    DatasetError
        There are no color images, or the file cannot be written.
    """
    description = _describe_color(images / dataset.IMAGES_NAME)
    _, height, width = description.image_shape
    _make(output, images, description, (1, height, width), monitor)


def max_output_bytes(images: Path, **_others: object) -> int:
    """Return the size of the file in bytes: for each image the gray values, float32, and a label."""
    description = _describe_color(images / dataset.IMAGES_NAME)
    return sum(description.counts.values()) * (4 * math.prod(description.image_shape[1:]) + 1)


def grayscale(images: ByteArray) -> FloatArray:
    """Return color images (N, 3, height, width), uint8, in gray: (N, height, width), float32.

    Each value is the float32 nearest to the formula's: in thousandths, 299 R + 587 G + 114 B - 127500 is
    a whole number below 2**24, which float32 holds exactly, so only the division by 255000 rounds.
    """
    count, channels, height, width = images.shape
    gray = _THOUSANDTHS @ images.reshape(count, channels, height * width).astype(np.float32)
    gray -= _HALF
    gray /= _WHITE
    return gray.reshape(count, height, width)


def _describe_color(path: Path) -> Description:
    description = dataset.describe(path)
    match description.image_shape, description.dtype:
        case (3, _, _), "uint8":
            return description
    raise DatasetError(
        f"{path} holds images of shape {description.image_shape} and type {description.dtype}; "
        "expected color, (3, height, width) and uint8."
    )


def _make(output: Path, images: Path, description: Description, shape: tuple[int, ...], monitor: Monitor) -> None:
    done, total = 0, sum(description.counts.values())
    with dataset.Writer(output / dataset.GRAYSCALE_NAME) as writer:
        for split, count in description.counts.items():
            for start, color, labels in dataset.read_chunks(images / dataset.IMAGES_NAME, split):
                gray = grayscale(color).reshape(len(color), *shape)
                writer.put(split, start, gray, labels, total=count)
                done += len(color)
                monitor.progress(done, total, "images")
        writer.describe(description.title, description.class_names, description.archive_sha256)
