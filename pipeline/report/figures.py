"""Draw confusion matrices and the weights of first layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.networks.arrays import DoubleArray, FloatArray
from pipeline.networks.declaration import Network
from pipeline.networks.layers import Conv2DLayer
from pipeline.networks.weights import Weights
from pipeline.report.drawing import BLUE, VERMILION, new_figure

MAX_FILTERS = 100
"""Maximum number of units whose weights are drawn."""

MAX_NAMED = 25
"""Maximum number of classes with names and counts in the confusion matrix."""

DEEPEST = 0.7
"""Opacity of a cell that holds its whole row, so that text on it has a contrast of at least 4.5 to 1 (WCAG 2, AA)."""

TILE = 32
"""Maximum side of a filter in pixels; filters are enlarged by a whole factor."""


def confusion(metrics: dict[str, Any]) -> Figure:
    """Draw a confusion matrix: counts on a background whose opacity grows with the share of the row.

    The diagonal is blue, errors are vermilion. A matrix of many classes has no counts and names: they would overlap.
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
            text.set_in_layout(False)  # or the layout would measure each of up to 625 texts
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def filters(network: Network, weights: Weights) -> Figure | None:
    """Draw the weights of the first layer that has weights, as a picture for each unit; None if they form no picture.

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
    factor, gap, across = max(1, TILE // max(height, width)), 2, math.ceil(math.sqrt(count))
    largest = np.abs(pictures).max(axis=(1, 2), keepdims=True)
    gray = 0.5 + 0.5 * pictures / np.maximum(largest, np.finfo(np.float32).tiny)
    tiles = np.zeros((math.ceil(count / across) * across, height * factor + gap, width * factor + gap, 4))
    tiles[:count, :-gap, :-gap, :3] = gray.repeat(factor, axis=1).repeat(factor, axis=2)[..., None]
    tiles[:count, :-gap, :-gap, 3] = 1
    rows = tiles.reshape(-1, across, *tiles.shape[1:]).swapaxes(1, 2)
    return rows.reshape(-1, across * tiles.shape[2], 4)[:-gap, :-gap]
