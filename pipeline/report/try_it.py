"""Write the section in which a reader tries the networks: pictures pass through them in the page, by its script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.networks.declaration import NamedLayer
from pipeline.networks.layers import Conv2DLayer, DenseLayer, InputLayer, Layer, MaxPool2DLayer
from pipeline.report.markup import Section, element
from pipeline.report.network_results import NetworkResults
from pipeline.report.script import packed

KINDS: dict[type[Layer], str] = {
    InputLayer: "input",
    Conv2DLayer: "convolution",
    MaxPool2DLayer: "pooling",
    DenseLayer: "dense",
}
"""Kinds of layers, by the names that the script has for them."""

MAX_PARAMETERS = 250_000
"""Maximum number of parameters of all networks in the page together; a parameter takes 4.3 bytes of it."""


def try_it_section(networks: Sequence[NetworkResults]) -> Section:
    """Write the place where the script lets a reader try the networks; say which are not there, and why."""
    reasons = _reasons(networks)
    missing = [
        element("p", f"The {network.title} is not here: {reasons[network.name]}.")
        for network in networks
        if network.name in reasons
    ]
    if len(missing) == len(networks):
        return Section("try-it", "Try it", missing)
    intro = (
        "Choose a picture, drop or paste one, draw one, or click a test image here or below: the trained network "
        "computes it in this page, layer by layer. The picture stays on this machine. Point at any value to see its "
        "arithmetic."
    )
    no_script = element("noscript", element("p", "This section needs JavaScript."))
    here = element("div", no_script, id="try-it-here")
    return Section("try-it", "Try it", [element("p", intro), *missing, here])


def layers_and_weights(networks: Sequence[NetworkResults]) -> dict[str, dict[str, Any]]:
    """Return layers and weights of the networks that can be tried, by name, as ``try-it/network.js`` reads them."""
    reasons = _reasons(networks)
    return {network.name: _layers_and_weights(network) for network in networks if network.name not in reasons}


def _reasons(networks: Sequence[NetworkResults]) -> dict[str, str]:
    """Return why networks cannot be tried, by the networks' names."""
    reasons, parameters = {}, 0
    for network in networks:
        if network.network.picture_size is None:
            reasons[network.name] = f"its input, of shape {network.network.input_shape}, is no gray picture"
        elif parameters + network.network.parameter_count > MAX_PARAMETERS:
            reasons[network.name] = (
                f"with its {network.network.parameter_count:,} parameters the page would be too large; "
                f"all networks here may have {MAX_PARAMETERS:,} together"
            )
        else:
            parameters += network.network.parameter_count
    return reasons


def _layers_and_weights(network: NetworkResults) -> dict[str, Any]:
    return {
        "layers": [_layer(entry) for entry in network.network.layers],
        "weights": packed(np.concatenate([values.ravel() for values in network.weights.values()])),
    }


def _layer(entry: NamedLayer) -> dict[str, Any]:
    layer = entry.layer
    described: dict[str, Any] = {"name": entry.name, "kind": KINDS[type(layer)], "shape": entry.output_shape}
    if isinstance(layer, Conv2DLayer | DenseLayer):
        described["nonlinearity"] = layer.nonlinearity
    if isinstance(layer, Conv2DLayer):
        described |= {"size": layer.filter_size, "stride": layer.stride, "pad": layer.pad}
    if isinstance(layer, MaxPool2DLayer):
        described |= {"size": layer.pool_size, "stride": layer.stride or layer.pool_size}
    return described
