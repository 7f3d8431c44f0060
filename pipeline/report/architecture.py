"""Write the sections on the networks: the weights of their first layers, and their layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from pipeline.networks.declaration import NamedLayer
from pipeline.report import drawing, figures
from pipeline.report.markup import Markup, element, html_table, number
from pipeline.report.network_results import NetworkResults
from pipeline.report.page import Section


def first_layers_section(networks: Sequence[NetworkResults], folder: Path) -> Section | None:
    """Show the weights of the first layers; None if no network's weights form a picture."""
    plots = [_plot(network, folder) for network in networks]
    note = (
        "A square shows the weights of one unit of the first layer: white where a bright pixel raises its output, "
        "black where it lowers it, scaled by the unit’s largest weight. A convolution flips its filters before it "
        "applies them; they are shown flipped."
    )
    if not any(plots):
        return None
    return Section("first-layers", "First layers", [element("p", note), element("div", *plots, class_="pair")])


def _plot(network: NetworkResults, folder: Path) -> Markup:
    name, units = next((layer.name, layer.output_shape[0]) for layer in network.network.layers if layer.weight_shapes)
    shown = f"{min(units, figures.MAX_FILTERS)} of {units} units"
    return drawing.plot(
        folder,
        f"filters-{network.name}",
        f"{network.title}, {name}",
        f"Weights of the first layer of the {network.title}, {name}: {shown}, a square each.",
        lambda: figures.filters(network.network, network.weights()),
    )


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
    options = [
        f"{field.name} {_option(value)}"
        for field in fields(layer.layer)
        if field.name != "shape" and (value := getattr(layer.layer, field.name)) != field.default
    ]
    parameters = sum(math.prod(shape) for shape in layer.weight_shapes.values())
    shape = element("span", " × ".join(map(str, layer.output_shape)), class_="shape")
    return [layer.name, type(layer.layer).__name__, ", ".join(options), shape, number(parameters, ",")]


def _option(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)
