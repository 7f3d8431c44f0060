"""Choose test images to show, with a network's prediction of each."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.networks.arrays import ByteArray, FloatArray

MAX_EXAMPLES = 10
"""Maximum number of images in each of the two rows."""


@dataclass(frozen=True)
class Example:
    """A test image by its index in the file, with its class, the predicted class, and that class's probability."""

    index: int
    label: int
    predicted: int
    confidence: float


def first_correct_of_each_class(probabilities: FloatArray, labels: ByteArray) -> list[Example]:
    """Choose the first image of each class, in file order, that is classified correctly."""
    predicted = probabilities.argmax(1)
    chosen = [np.flatnonzero((labels == label) & (predicted == label))[:1] for label in range(probabilities.shape[1])]
    return _examples(np.concatenate(chosen), probabilities, labels)[:MAX_EXAMPLES]


def most_confidently_wrong(probabilities: FloatArray, labels: ByteArray) -> list[Example]:
    """Choose the images that are classified wrongly with the highest probability, in descending order."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    worst_first = np.argsort(-probabilities.max(1)[wrong], kind="stable")
    return _examples(wrong[worst_first][:MAX_EXAMPLES], probabilities, labels)


def data_uri(image: FloatArray) -> str:
    """Return a grayscale image, from -0.5 to 0.5 and of shape (rows, columns), as a PNG in a data URI."""
    pixels = np.clip(np.rint((image + 0.5) * 255), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _examples(indices: npt.NDArray[np.intp], probabilities: FloatArray, labels: ByteArray) -> list[Example]:
    return [
        Example(int(index), int(labels[index]), int(probabilities[index].argmax()), float(probabilities[index].max()))
        for index in indices
    ]
