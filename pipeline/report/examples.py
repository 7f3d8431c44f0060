"""Write the section on test images: some that a network classifies correctly, and its most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline.networks.arrays import ByteArray, FloatArray
from pipeline.report.markup import Markup, Section, element, png_uri
from pipeline.report.network_results import NetworkResults
from pipeline.training.evaluate import PREDICTIONS_NAME, read_predictions

MAX_EXAMPLES = 10
"""Maximum number of images in a gallery."""


@dataclass(frozen=True)
class Example:
    """A test image by its index in the file, with its class, the predicted class, and that class's probability."""

    index: int
    label: int
    predicted: int
    confidence: float


def test_images_section(
    networks: Sequence[NetworkResults], images: ByteArray, labels: ByteArray, class_names: list[str]
) -> Section:
    """Show images that each network classifies correctly, and its most confident mistakes.

    The images are in color, (N, 3, rows, columns) and uint8. The page shows them in gray, and in color to who points at
    them; with the script, a click tries them.
    """
    blocks: list[Markup] = [_GRAY]
    for network in networks:
        predicted = predictions(read_predictions(network.evaluated / PREDICTIONS_NAME), labels)
        for title, chosen in (
            ("the first of each class that it classifies correctly", first_correct_of_each_class(predicted)),
            ("its most confident mistakes", most_confidently_wrong(predicted)),
        ):
            shown = [_figure(example, images[example.index], class_names) for example in chosen]
            gallery = element("div", *shown, class_="gallery") if shown else element("p", "There are none.")
            blocks += [element("h3", f"{network.title}: {title}"), gallery]
    return Section("test-images", "Test images", blocks)


def shown_images(images: ByteArray, labels: ByteArray, indices: Iterable[int]) -> dict[str, Any]:
    """Return the pictures and the labels of test images by their indices."""
    return {str(index): {"picture": _png(images[index]), "label": int(labels[index])} for index in sorted(indices)}


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


_GRAY = Markup(
    '<svg width="0" height="0" aria-hidden="true"><filter id="gray" color-interpolation-filters="sRGB">'
    '<feColorMatrix values=".299 .587 .114 0 0 .299 .587 .114 0 0 .299 .587 .114 0 0 0 0 0 1 0"></feColorMatrix>'
    "</filter></svg>"
)
"""The filter of the style sheet that turns color pictures gray by the formula of `pipeline.data.grayscale`."""


def _figure(example: Example, image: ByteArray, class_names: list[str]) -> Markup:
    predicted, label = class_names[example.predicted], class_names[example.label]
    is_right = example.predicted == example.label
    _, height, width = image.shape
    alt = f"Test image {example.index} ({label})"
    # Rounded down, so that only a probability of 1 is written as 100%.
    percent = f"{math.floor(1000 * example.confidence) / 10:.1f}%"
    confidence = element("data", percent, value=f"{example.confidence:.6f}")
    correction = [] if is_right else [element("br"), f"is: {label}"]
    return element(
        "figure",
        element("img", src=_png(image), alt=alt, width=width, height=height),
        element("figcaption", element("strong", predicted), element("br"), confidence, *correction),
        class_="right" if is_right else "wrong",
        data_index=example.index,
    )


def _png(image: ByteArray) -> str:
    """Return a color image, (3, rows, columns) and uint8, as a data URI."""
    return png_uri(Image.fromarray(image.transpose(1, 2, 0)))
