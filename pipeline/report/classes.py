"""Write the sections on classes: confusion matrices, accuracies by class, and examples of test images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.networks.arrays import ByteArray, FloatArray
from pipeline.report import drawing, examples, figures
from pipeline.report.examples import Example
from pipeline.report.markup import Markup, element, html_table, legend, number
from pipeline.report.network_results import NetworkResults
from pipeline.report.page import Section


def classes_section(networks: Sequence[NetworkResults], folder: Path) -> Section:
    """Show the confusion matrices, and accuracy and precision of each class."""
    notes = " ".join(_most_confused(network) for network in networks)
    plots = [_plot(network, folder) for network in networks]
    meaning = (
        "Accuracy: the share of a class’s images that are classified correctly. Precision: the share of the images "
        "classified as a class that belong to it."
    )
    colours = (
        "A row of a matrix has the test images of one class. The deeper the colour, the larger the share of the row."
    )
    content = [
        element("p", notes),
        element("p", colours),
        legend(("right", "classified correctly"), ("wrong", "classified as another class")),
        element("div", *plots, class_="pair"),
        element("h3", "Class by class"),
        element("p", meaning),
        _by_class(networks),
    ]
    return Section("classes", "Classes", content)


def _plot(network: NetworkResults, folder: Path) -> Markup:
    return drawing.plot(
        folder,
        f"confusion-{network.name}",
        network.title,
        f"Confusion matrix of the {network.title}. {_most_confused(network)}",
        lambda: figures.confusion(network.metrics),
    )


def _most_confused(network: NetworkResults) -> str:
    classes = network.metrics["classes"]
    mistaken = (
        (count, row, column)
        for row, counts in enumerate(network.metrics["confusion_matrix"])
        for column, count in enumerate(counts)
        if row != column
    )
    count, row, column = max(mistaken, default=(0, 0, 0))
    if not count:
        return f"The {network.title} classifies every image correctly."
    label, predicted = classes[row], classes[column]
    return (
        f"The {network.title}’s most frequent mistake is {label['name']} classified as {predicted['name']}: "
        f"{count:,} of {label['images']:,} images."
    )


def _by_class(networks: Sequence[NetworkResults]) -> Markup:
    header = ["Class", "Test images"]
    header += [f"{network.title} {figure}" for network in networks for figure in ("accuracy", "precision")]
    rows = []
    for index, entry in enumerate(networks[0].metrics["classes"]):
        of_class = [network.metrics["classes"][index] for network in networks]
        shares = [_share(found[figure]) for found in of_class for figure in ("recall", "precision")]
        rows.append([entry["name"], f"{entry['images']:,}", *shares])
    return html_table("Test images by class", header, rows, numbers=header[1:], id="by-class")


def _share(value: float | None) -> Markup:
    if value is None:
        return element("td", "–", class_="number")
    return element("td", number(value, ".1%"), class_="share", style=f"--share: {value:.2%}")


def test_images_section(
    networks: Sequence[NetworkResults], images: FloatArray, labels: ByteArray, class_names: list[str]
) -> Section:
    """Show images that each network classifies correctly, and its most confident mistakes.

    Parameters
    ----------
    images : float32 array, shape (N, 1, rows, columns)
    """
    blocks: list[Markup] = []
    for network in networks:
        predictions = examples.predictions(network.probabilities(), labels)
        blocks += [
            element("h3", f"{network.title}: the first of each class that it classifies correctly"),
            _gallery(examples.first_correct_of_each_class(predictions), images, class_names),
            element("h3", f"{network.title}: its most confident mistakes"),
            _gallery(examples.most_confidently_wrong(predictions), images, class_names),
        ]
    return Section("test-images", "Test images", blocks)


def _gallery(chosen: Sequence[Example], images: FloatArray, class_names: list[str]) -> Markup:
    shown = [_shown(example, images, class_names) for example in chosen]
    return element("div", *shown, class_="gallery") if shown else element("p", "There are none.")


def _shown(example: Example, images: FloatArray, class_names: list[str]) -> Markup:
    predicted, label = class_names[example.predicted], class_names[example.label]
    image = images[example.index].mean(0)
    is_right = example.predicted == example.label
    picture = element(
        "img",
        src=examples.data_uri(image),
        alt=f"Test image {example.index}: {label}",
        width=image.shape[1],
        height=image.shape[0],
    )
    # Rounded down, so that only a probability of 1 is written as 100%.
    percent = f"{math.floor(1000 * example.confidence) / 10:.1f}%"
    confidence = element("data", percent, value=f"{example.confidence:.6f}")
    correction = [] if is_right else [element("br"), f"is: {label}"]
    return element(
        "figure",
        picture,
        element("figcaption", element("strong", predicted), element("br"), confidence, *correction),
        class_="right" if is_right else "wrong",
        data_index=example.index,
    )
