"""Write the sections on the networks: the weights of their first layers, and their layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.networks.arrays import DoubleArray, FloatArray
from pipeline.networks.declaration import NamedLayer, Network
from pipeline.networks.first_layer import first_layer, first_layer_pictures
from pipeline.networks.weights import Weights
from pipeline.report.drawing import new_figure, plot
from pipeline.report.markup import Section, counted, element, html_table, number
from pipeline.report.network_results import NetworkResults

MAX_FILTERS = 36
"""Maximum number of units whose weights are drawn."""

GRAYS = 255
"""Number of grays: 0 is the middle one, and with a transparent colour they fit into the palette of a picture."""


def first_layers_section(networks: Sequence[NetworkResults], folder: Path) -> Section | None:
    """Show the weights of the first layers; None if no network's weights form a picture."""
    plots = []
    for network in networks:
        layer = first_layer(network.network)
        title = f"{network.title}, {layer.name}: {_number_shown(layer.output_shape[0])}"
        described = f"Weights of the first layer of the {title}, a square each."
        drawn = network.network, network.weights
        plots.append(plot(folder, f"filters-{network.name}", title, described, filters, *drawn))
    if not any(plots):
        return None
    note = (
        "A square shows the weights of one unit of the first layer: white where a bright pixel raises its output, "
        "black where it lowers it, scaled by the unit’s largest weight. A convolution flips its filters before it "
        "applies them; they are shown flipped."
    )
    return Section("first-layers", "First layers", [element("p", note), element("div", *plots, class_="pair")])


def filters(network: Network, weights: Weights) -> Figure | None:
    """Draw the weights of the first layer that has weights, as a picture for each unit; None if they form no picture.

    Each picture is scaled by its largest weight: 0 is mid-gray, positive weights are brighter, negative ones darker.
    """
    pictures = first_layer_pictures(network, weights, MAX_FILTERS)
    if pictures is None:
        return None
    sheet = _contact_sheet(pictures)
    figure = new_figure(4.6, 4.6 * sheet.shape[0] / sheet.shape[1])
    axes: Axes = figure.subplots()
    axes.imshow(sheet, cmap=colormaps["gray"].resampled(GRAYS), vmin=-1, vmax=1, interpolation="none")
    axes.set_axis_off()
    return figure


def _number_shown(units: int) -> str:
    return f"the first {MAX_FILTERS} of {units} units" if units > MAX_FILTERS else counted(units, "unit")


def _contact_sheet(pictures: FloatArray) -> DoubleArray:
    """Arrange pictures, scaled to -1 to 1, in rows with gaps of NaN, which are drawn transparent."""
    count, height, width = pictures.shape
    gap, across = 2, math.ceil(math.sqrt(count))
    factor = max(1, 32 // max(height, width))  # enlarges a small picture to 32 pixels at the most
    largest = np.abs(pictures).max(axis=(1, 2), keepdims=True)
    scaled = pictures / np.maximum(largest, np.finfo(np.float32).tiny)
    tiles = np.full((math.ceil(count / across) * across, height * factor + gap, width * factor + gap), np.nan)
    tiles[:count, :-gap, :-gap] = scaled.repeat(factor, axis=1).repeat(factor, axis=2)
    rows = tiles.reshape(-1, across, *tiles.shape[1:]).swapaxes(1, 2)
    return rows.reshape(-1, across * tiles.shape[2])[:-gap, :-gap]


def layers_section(networks: Sequence[NetworkResults]) -> Section:
    """List the layers with their shapes and their numbers of parameters."""
    tables = [
        html_table(
            f"{network.title}: {network.network.parameter_count:,} parameters",
            ["Layer", "Kind", "Options", "Output", "Parameters"],
            [_layer(layer) for layer in network.network.layers],
            numbers=["Output", "Parameters"],
            id=f"layers-{network.name}",
        )
        for network in networks
    ]
    return Section("layers", "Layers", tables)


def _layer(layer: NamedLayer) -> list[object]:
    options = []
    for field in fields(layer.layer):
        value = getattr(layer.layer, field.name)
        if field.name != "shape" and value != field.default:
            options.append(f"{field.name} {'×'.join(map(str, value)) if isinstance(value, tuple) else value}")
    parameters = sum(math.prod(shape) for shape in layer.weight_shapes.values())
    shape = element("span", " × ".join(map(str, layer.output_shape)), class_="shape")
    return [layer.name, type(layer.layer).__name__, ", ".join(options), shape, number(parameters, ",")]
