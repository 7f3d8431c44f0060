"""The report's figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.networks.arrays import DoubleArray, FloatArray
from pipeline.networks.declaration import Network
from pipeline.networks.layers import Conv2DLayer
from pipeline.networks.weights import Weights
from pipeline.report.article.curves import FEW_EPOCHS, draw_article, name_epochs
from pipeline.report.drawing import BLUE, INK, VERMILION, new_figure
from pipeline.report.network_results import NetworkResults

MOST_FILTERS = 100
MOST_NAMED = 25
"""Up to so many classes have names and counts in the confusion matrix."""

DEEPEST = 0.7
"""Opacity of the ground of a whole row in one place: text in the ink has a contrast of 4.5 to 1 or more on it."""

TILE = 32
"""Pixels along a filter's side, or a few less: filters are enlarged by a whole factor."""


def curves(trained: NetworkResults) -> Figure:
    """Draw losses above the validation accuracy, over epochs, in front of the article's where the data is its own."""
    figure = new_figure(4.6, 4.4)
    losses, accuracies = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    epochs = [row["epoch"] for row in trained.epochs]
    mark = "o" if len(epochs) <= FEW_EPOCHS else ""
    for column, label, color, style in (("train", "train", BLUE, "-"), ("valid", "validation", VERMILION, "--")):
        values = [row[f"{column}_loss"] for row in trained.epochs]
        losses.plot(epochs, values, style, color=color, marker=mark, markersize=4, label=label)
    values = [row["valid_accuracy"] for row in trained.epochs]
    accuracies.plot(epochs, values, "--", color=VERMILION, marker=mark, markersize=4, label="validation")
    accuracies.axhline(trained.accuracy, color=BLUE, linewidth=1, label="test")
    if article := trained.article:
        draw_article(losses, article, "train_loss", "valid_loss")
        draw_article(accuracies, article, "valid_accuracy")
        accuracies.axhline(article.accuracy, color=INK, linewidth=0.8, linestyle="-.", label="article, test")
    losses.set(ylabel="loss (cross-entropy)")
    accuracies.set(xlabel="epoch", ylabel="accuracy")
    accuracies.yaxis.set_major_formatter(PercentFormatter(1))
    name_epochs(accuracies)
    figure.align_ylabels()
    for axes in (losses, accuracies):
        axes.grid(visible=True)
        axes.legend()
    return figure


def confusion(metrics: dict[str, Any]) -> Figure:
    """Draw the confusion matrix: the counts, on a ground that is the deeper the larger the part of the row.

    The diagonal, what is right, is blue; errors are vermilion. Of many classes there are only the grounds, by the
    classes' numbers: counts and names would lie over each other.
    """
    counts = np.array(metrics["confusion_matrix"])
    names = [entry["name"] for entry in metrics["classes"]]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = new_figure(4.6, 4.4)
    axes = figure.subplots()
    grounds = np.empty((*counts.shape, 4))
    grounds[:] = colors.to_rgba(VERMILION)
    grounds[np.diag_indices(len(counts))] = colors.to_rgba(BLUE)
    grounds[..., 3] = DEEPEST * np.sqrt(shares)  # the root, so that errors, which are small parts, have a colour
    axes.imshow(grounds, interpolation="none")
    if len(names) <= MOST_NAMED:
        for (row, column), count in np.ndenumerate(counts):
            text = axes.text(column, row, str(count), ha="center", va="center", fontsize=8, alpha=1 if count else 0.4)
            text.set_in_layout(False)  # measuring all of them would take most of the time
        places = range(len(names))
        axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, names)
    axes.set(xlabel="what the network said", ylabel="what it is")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def filters(network: Network, weights: Weights) -> Figure | None:
    """Draw what the first layer with weights looks for, a small picture a unit; None where that is no picture.

    Each is scaled by its own largest weight: mid-gray is 0, white favours bright pixels, black dark ones.
    """
    pictures = first_layer(network, weights)
    if pictures is None:
        return None
    sheet = _contact_sheet(pictures[:MOST_FILTERS])
    figure = new_figure(4.6, 4.6 * sheet.shape[0] / sheet.shape[1])
    axes: Axes = figure.subplots()
    axes.imshow(sheet, interpolation="none")
    axes.set_axis_off()
    return figure


def first_layer(network: Network, weights: Weights) -> FloatArray | None:
    """Return the first layer's weights as they meet the image, shape (units, rows, columns).

    A convolution flips its filters on both axes, so they are shown flipped. The weights of a dense layer
    are laid out as the pixels of the image. Of several channels the mean is shown.
    """
    layer = next(layer for layer in network.layers if layer.weight_shapes)
    values = weights[f"{layer.name}/W"]
    if isinstance(layer.layer, Conv2DLayer):
        turned: FloatArray = values.mean(1)[:, ::-1, ::-1]
        return turned
    shape = _picture_shape(layer.input_shape)
    return values.T.reshape(-1, *shape).mean(1) if shape else None


def _picture_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return (channels, rows, columns) of an image; one that is a vector was a square."""
    if len(input_shape) == 3:
        return input_shape
    side = math.isqrt(input_shape[0])
    return (1, side, side) if side**2 == input_shape[0] else None


def _contact_sheet(pictures: FloatArray) -> DoubleArray:
    """Lay pictures out in rows, with gaps that let the ground through: RGBA, shape (rows, columns, 4)."""
    count, height, width = pictures.shape
    factor, gap = max(1, TILE // max(height, width)), 2
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    step_down, step_across = height * factor + gap, width * factor + gap
    sheet = np.zeros((down * step_down - gap, across * step_across - gap, 4))
    for index, picture in enumerate(pictures):
        gray = 0.5 + 0.5 * picture / max(np.abs(picture).max(), np.finfo(np.float32).tiny)
        top, left = index // across * step_down, index % across * step_across
        tile = sheet[top : top + height * factor, left : left + width * factor]
        tile[..., :3] = np.kron(gray, np.ones((factor, factor)))[..., None]
        tile[..., 3] = 1
    return sheet
