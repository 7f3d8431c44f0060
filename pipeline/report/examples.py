"""Test images to show, with what a network said of them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.networks.arrays import ByteArray, FloatArray

MOST = 10
"""Images in each of the two rows."""


@dataclass(frozen=True)
class Example:
    """A test image by its place in the file, its class, and the class that the network found most probable."""

    index: int
    label: int
    predicted: int
    confidence: float


def first_correct_of_each_class(probabilities: FloatArray, labels: ByteArray) -> list[Example]:
    """Choose of each class the first image, in file order, that was classified correctly."""
    predicted = probabilities.argmax(1)
    chosen = [np.flatnonzero((labels == label) & (predicted == label))[:1] for label in range(probabilities.shape[1])]
    return _examples(np.concatenate(chosen), probabilities, labels)[:MOST]


def most_confidently_wrong(probabilities: FloatArray, labels: ByteArray) -> list[Example]:
    """Choose the images that were classified wrongly with the greatest confidence, the worst first."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    worst_first = np.argsort(-probabilities.max(1)[wrong], kind="stable")
    return _examples(wrong[worst_first][:MOST], probabilities, labels)


def data_uri(image: FloatArray) -> str:
    """Return a grayscale image, from -0.5 to 0.5 and of shape (rows, columns), as a PNG inside a URI."""
    pixels = np.clip(np.rint((image + 0.5) * 255), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _examples(indices: npt.NDArray[np.intp], probabilities: FloatArray, labels: ByteArray) -> list[Example]:
    return [
        Example(int(index), int(labels[index]), int(probabilities[index].argmax()), float(probabilities[index].max()))
        for index in indices
    ]
