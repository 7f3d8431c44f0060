"""Convert color images to grayscale: flat for the MLP, two-dimensional for the CNN.

A gray value is 0.299 R + 0.587 G + 0.114 B, the luma of ITU-R Recommendation BT.601, divided by 255, minus 0.5:
from -0.5 (black) to 0.5 (white).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.data.dataset import GRAYSCALE_NAME, IMAGES_NAME, DatasetWriter, describe_dataset, open_dataset
from pipeline.errors import DatasetError
from pipeline.networks.arrays import ByteArray, FloatArray
from pipeline.progress.monitor import Monitor

_THOUSANDTHS = np.array([299, 587, 114], np.float32)
_HALF = np.float32(127_500)
_WHITE = np.float32(255_000)


def make_flat(output: Path, *, images: Path, monitor: Monitor) -> None:
    """Convert ``images / "images.h5"`` to ``output / "grayscale.h5"``, whose images have the shape (height * width,).

    Raises
    ------
    DatasetError
        The images are not in color, or a file cannot be read or written.
    """
    _convert(images / IMAGES_NAME, output / GRAYSCALE_NAME, lambda gray: gray.reshape(len(gray), -1), monitor)


def make_2d(output: Path, *, images: Path, monitor: Monitor) -> None:
    """Convert images as `make_flat` does, but to the shape (1, height, width)."""
    _convert(images / IMAGES_NAME, output / GRAYSCALE_NAME, lambda gray: gray[:, np.newaxis], monitor)


def _convert(source: Path, target: Path, shaped: Callable[[FloatArray], FloatArray], monitor: Monitor) -> None:
    with open_dataset(source) as data:
        about = data.description
        if about.dtype != "uint8" or len(about.image_shape) != 3 or about.image_shape[0] != 3:
            raise DatasetError(
                f"{source} holds images of shape {about.image_shape} and type {about.dtype}; "
                "expected color, (3, height, width) and uint8."
            )
        done, total = 0, sum(about.counts.values())
        with DatasetWriter(target) as writer:
            for split, count in about.counts.items():
                for start, color, labels in data.chunks(split):
                    writer.put(split, start, shaped(grayscale(color)), labels, total=count)
                    done += len(color)
                    monitor.progress(done, total, "images")
            writer.describe(about.title, about.class_names, about.archive_sha256)


def grayscale(images: ByteArray) -> FloatArray:
    """Convert color images, (N, 3, height, width) and uint8, to gray, (N, height, width) and float32.

    Each value is the float32 nearest to the formula's. In thousandths, 299 R + 587 G + 114 B - 127500 is a whole
    number below 2**24, which float32 represents exactly, so that only the division by 255000 rounds.
    """
    count, channels, height, width = images.shape
    gray = _THOUSANDTHS @ images.reshape(count, channels, height * width).astype(np.float32)
    gray -= _HALF
    gray /= _WHITE
    return gray.reshape(count, height, width)


def max_output_bytes(images: Path, **_others: object) -> int:
    """Return the maximum output size in bytes: gray values in float32 and a label for each image."""
    about = describe_dataset(images / IMAGES_NAME)
    return sum(about.counts.values()) * (4 * math.prod(about.image_shape[1:]) + 1)
