"""Choose test images to show, with a network's prediction of each."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.networks.arrays import ByteArray, FloatArray

MAX_EXAMPLES = 10
"""Maximum number of images in a gallery."""


@dataclass(frozen=True)
class Example:
    """A test image by its index in the file, with its class, the predicted class, and that class's probability."""

    index: int
    label: int
    predicted: int
    confidence: float


def predictions(probabilities: FloatArray, labels: ByteArray) -> list[Example]:
    """Return a network's prediction of each test image."""
    most_probable = probabilities.argmax(1).tolist(), probabilities.max(1).tolist()
    return list(map(Example, range(len(labels)), labels.tolist(), *most_probable))


def first_correct_of_each_class(predicted: Sequence[Example]) -> list[Example]:
    """Choose the first image of each class, in file order, that is classified correctly."""
    first = {example.label: example for example in reversed(predicted) if example.predicted == example.label}
    return [first[label] for label in sorted(first)][:MAX_EXAMPLES]


def most_confidently_wrong(predicted: Sequence[Example]) -> list[Example]:
    """Choose the images that are classified wrongly with the highest probability, in descending order."""
    wrong = [example for example in predicted if example.predicted != example.label]
    return sorted(wrong, key=lambda example: example.confidence, reverse=True)[:MAX_EXAMPLES]


def data_uri(image: FloatArray) -> str:
    """Return a grayscale image, from -0.5 to 0.5 and of shape (rows, columns), as a PNG in a data URI."""
    pixels = np.clip(np.rint((image + 0.5) * 255), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
