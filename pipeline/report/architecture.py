"""What the networks are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

from pipeline.networks.declaration import NamedLayer
from pipeline.report import figures
from pipeline.report.markup import Markup, element, number, table
from pipeline.report.network_results import NetworkResults
from pipeline.report.page import Section, section
from pipeline.report.plots import Plotter


def first_layers(networks: Sequence[NetworkResults], plotter: Plotter) -> Section | None:
    """Show what the first layers look for; None where no one's weights make a picture."""
    plots = [_plot(network, plotter) for network in networks]
    note = (
        "A square is what one unit of the first layer multiplies the image with: white where a bright pixel raises its "
        "output, black where it lowers it, scaled by the unit’s own largest weight. A convolution turns its filters "
        "round before they meet the image; they are shown as they meet it."
    )
    if not any(plots):
        return None
    return section("first-layers", "First layers", element("p", note), element("div", *plots, class_="pair"))


def _plot(network: NetworkResults, plotter: Plotter) -> Markup:
    name, units = next((layer.name, layer.output_shape[0]) for layer in network.network.layers if layer.weight_shapes)
    shown = f"{min(units, figures.MOST_FILTERS)} of {units} units"
    return plotter.plot(
        f"filters-{network.name}",
        f"{network.title}, {name}",
        f"Weights of the first layer of the {network.title}, {name}: {shown}, a square each.",
        lambda: figures.filters(network.network, network.weights()),
    )


def layers(networks: Sequence[NetworkResults]) -> Section:
    """List the layers with their shapes and how many numbers each learns."""
    tables = [
        table(
            f"{network.title}: {network.network.parameter_count:,} parameters",
            ["Layer", "Kind", "Options", "Output", "Parameters"],
            [_layer(layer) for layer in network.network.layers],
            numbers=["Output", "Parameters"],
            id=f"layers-{network.name}",
        )
        for network in networks
    ]
    return section("layers", "Layers", *tables)


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
