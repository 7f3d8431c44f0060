"""Write the section on classes: confusion matrices, and accuracies by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colors
from matplotlib.figure import Figure

from pipeline.report.drawing import BLUE, VERMILION, new_figure, plot
from pipeline.report.markup import Markup, Section, element, html_table, legend, number
from pipeline.report.network_results import NetworkResults

DEEPEST = 0.7
"""Opacity of a cell that holds its whole row, so that text on it has a contrast of at least 4.5 to 1 (WCAG 2, AA)."""


def classes_section(networks: Sequence[NetworkResults], folder: Path) -> Section:
    """Show the confusion matrices, and accuracy and precision of each class."""
    mistakes = {network.title: _most_confused(network) for network in networks}
    plots = [
        plot(
            folder,
            f"confusion-{network.name}",
            network.title,
            f"Confusion matrix of the {network.title}. {mistakes[network.title]}",
            confusion,
            network.metrics,
        )
        for network in networks
    ]
    colours = (
        "A row of a matrix has the test images of one class. The deeper the colour, the larger the share of the row."
    )
    meaning = (
        "Accuracy: the share of a class’s images that are classified correctly. Precision: the share of the images "
        "classified as a class that belong to it."
    )
    content = [
        element("p", " ".join(mistakes.values())),
        element("p", colours),
        legend(("right", "classified correctly"), ("wrong", "classified as another class")),
        element("div", *plots, class_="pair"),
        element("h3", "Class by class"),
        element("p", meaning),
        _by_class(networks),
    ]
    return Section("classes", "Classes", content)


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


def confusion(metrics: dict[str, Any]) -> Figure:
    """Draw a confusion matrix: counts on a background whose opacity grows with the share of the row.

    The diagonal is blue, errors are vermilion. A matrix of over 25 classes has no counts and names: they would overlap.
    """
    counts = np.array(metrics["confusion_matrix"])
    names = [entry["name"] for entry in metrics["classes"]]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = new_figure(4.6, 4.4)
    axes = figure.subplots()
    backgrounds = np.empty((*counts.shape, 4))
    backgrounds[:] = colors.to_rgba(VERMILION)
    backgrounds[np.diag_indices(len(counts))] = colors.to_rgba(BLUE)
    backgrounds[..., 3] = DEEPEST * np.sqrt(shares)  # the root makes small shares, the errors, visible
    axes.imshow(backgrounds, interpolation="none")
    if len(names) <= 25:
        for (row, column), count in np.ndenumerate(counts):
            text = axes.text(column, row, str(count), ha="center", va="center", fontsize=8, alpha=1 if count else 0.4)
            text.set_in_layout(False)  # or the layout would measure each of up to 625 texts
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _by_class(networks: Sequence[NetworkResults]) -> Markup:
    header = ["Class", "Test images"]
    header += [f"{network.title} {figure}" for network in networks for figure in ("accuracy", "precision")]
    rows = []
    for entries in zip(*(network.metrics["classes"] for network in networks), strict=True):
        shares = [_share(entry[figure]) for entry in entries for figure in ("recall", "precision")]
        rows.append([entries[0]["name"], f"{entries[0]['images']:,}", *shares])
    return html_table("Test images by class", header, rows, numbers=header[1:], id="by-class")


def _share(value: float | None) -> Markup:
    if value is None:
        return element("td", "–", class_="number")
    return element("td", number(value, ".1%"), class_="share", style=f"--share: {value:.2%}")
