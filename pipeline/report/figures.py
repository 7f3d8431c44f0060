"""Draw the figures of the report."""

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
from pipeline.report.article.curves import FEW_EPOCHS, draw_article, tick_epochs
from pipeline.report.drawing import BLUE, INK, VERMILION, new_figure
from pipeline.report.network_results import NetworkResults

MAX_FILTERS = 100
MAX_NAMED = 25
"""Maximum number of classes with names and counts in the confusion matrix."""

DEEPEST = 0.7
"""Opacity of a cell that holds its whole row, so that text on it has a contrast of at least 4.5 to 1 (WCAG 2, AA)."""

TILE = 32
"""Maximum side of a filter in pixels; filters are enlarged by a whole factor."""


def curves(trained: NetworkResults) -> Figure:
    """Draw the losses and, below them, the accuracy over epochs, in front of the article's on the article's data."""
    figure = new_figure(4.6, 4.4)
    losses, accuracies = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    epochs = [row.epoch for row in trained.epochs]
    mark = "o" if len(epochs) <= FEW_EPOCHS else ""
    for column, label, color, style in (("train", "train", BLUE, "-"), ("valid", "validation", VERMILION, "--")):
        values = [getattr(row, f"{column}_loss") for row in trained.epochs]
        losses.plot(epochs, values, style, color=color, marker=mark, markersize=4, label=label)
    values = [row.valid_accuracy for row in trained.epochs]
    accuracies.plot(epochs, values, "--", color=VERMILION, marker=mark, markersize=4, label="validation")
    accuracies.axhline(trained.accuracy, color=BLUE, linewidth=1, label="test")
    if article := trained.article:
        draw_article(losses, article, "train_loss", "valid_loss")
        draw_article(accuracies, article, "valid_accuracy")
        accuracies.axhline(article.accuracy, color=INK, linewidth=0.8, linestyle="-.", label="article, test")
    losses.set(ylabel="loss (cross-entropy)")
    accuracies.set(xlabel="epoch", ylabel="accuracy")
    accuracies.yaxis.set_major_formatter(PercentFormatter(1))
    tick_epochs(accuracies)
    figure.align_ylabels()
    for axes in (losses, accuracies):
        axes.grid(visible=True)
        axes.legend()
    return figure


def confusion(metrics: dict[str, Any]) -> Figure:
    """Draw the confusion matrix: counts on a background whose opacity grows with the share of the row.

    The diagonal is blue, errors are vermilion. A matrix of many classes has no counts and names, which would overlap.
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
    if len(names) <= MAX_NAMED:
        for (row, column), count in np.ndenumerate(counts):
            text = axes.text(column, row, str(count), ha="center", va="center", fontsize=8, alpha=1 if count else 0.4)
            text.set_in_layout(False)  # to measure all texts would take most of the time
        places = range(len(names))
        axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def filters(network: Network, weights: Weights) -> Figure | None:
    """Draw the weights of the first layer that has some, as a picture for each unit; None if they form no picture.

    Each picture is scaled by its largest weight: 0 is mid-gray, positive weights are brighter, negative ones darker.
    """
    pictures = first_layer(network, weights)
    if pictures is None:
        return None
    sheet = _contact_sheet(pictures[:MAX_FILTERS])
    figure = new_figure(4.6, 4.6 * sheet.shape[0] / sheet.shape[1])
    axes: Axes = figure.subplots()
    axes.imshow(sheet, interpolation="none")
    axes.set_axis_off()
    return figure


def first_layer(network: Network, weights: Weights) -> FloatArray | None:
    """Return the first layer's weights in the orientation of the image, shape (units, rows, columns).

    Filters are flipped on both axes, as a convolution flips them. The weights of a dense layer are arranged like the
    image's pixels. Several channels are averaged.
    """
    layer = next(layer for layer in network.layers if layer.weight_shapes)
    values = weights[f"{layer.name}/W"]
    if isinstance(layer.layer, Conv2DLayer):
        flipped: FloatArray = values.mean(1)[:, ::-1, ::-1]
        return flipped
    shape = _picture_shape(layer.input_shape)
    return values.T.reshape(-1, *shape).mean(1) if shape else None


def _picture_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return (channels, rows, columns) of an image; a flat one is taken as a square."""
    if len(input_shape) == 3:
        return input_shape
    side = math.isqrt(input_shape[0])
    return (1, side, side) if side**2 == input_shape[0] else None


def _contact_sheet(pictures: FloatArray) -> DoubleArray:
    """Arrange pictures in rows with transparent gaps: RGBA, shape (rows, columns, 4)."""
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
