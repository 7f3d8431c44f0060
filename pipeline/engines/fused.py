"""What the engines of fused kernels share: the layers that they know, and checks of what the kernels read unchecked."""

from __future__ import annotations

from pipeline.engines.engine import Examples
from pipeline.errors import EngineError
from pipeline.networks.arrays import FloatArray
from pipeline.networks.declaration import NamedLayer, Network
from pipeline.networks.layers import Conv2DLayer, MaxPool2DLayer, linear, rectify, softmax


def weighted_layers(network: Network, engine: str) -> list[tuple[NamedLayer, bool]]:
    """Return the layers that have weights, each with whether pooling follows it.

    Raise `EngineError` if the kernels lack one of the layers; ``engine`` names them in the message.
    """
    layers: list[tuple[NamedLayer, bool]] = []
    for entry in network.layers[1:]:
        reason = _refusal(entry, after_convolution=bool(layers) and _is_unpooled_convolution(*layers[-1]))
        if reason:
            raise EngineError(
                f"layer {entry.name!r}: the {engine} engine has no {reason}. Train this network with --engine torch."
            )
        if isinstance(entry.layer, MaxPool2DLayer):
            layers[-1] = (layers[-1][0], True)
        else:
            layers.append((entry, False))
    return layers


def check_images(network: Network, images: FloatArray) -> None:
    """Raise `EngineError` for images of another shape than the network's, because the kernels check no index."""
    if images.shape[1:] != network.input_shape:
        raise EngineError(f"the images have shape {images.shape[1:]}; this network takes {network.input_shape}.")


def check_examples(network: Network, examples: Examples) -> None:
    """Raise `EngineError` for images or labels that do not fit the network, because the kernels check no index."""
    check_images(network, examples.images)
    if examples.labels.max(initial=0) >= network.classes:
        raise EngineError(
            f"there is a label {examples.labels.max()}; this network has {network.classes} classes, whose labels are "
            f"0 to {network.classes - 1}. Change num_units of its last layer."
        )


def _refusal(entry: NamedLayer, *, after_convolution: bool) -> str | None:
    """Name the feature of a layer that the kernels lack, or return None."""
    layer = entry.layer
    if isinstance(layer, MaxPool2DLayer):
        if layer.pool_size != (2, 2) or layer.stride not in (None, (2, 2)):
            return f"pooling with pool_size {layer.pool_size} and stride {layer.stride}, only 2x2 with stride 2"
        return None if after_convolution else "pooling except right after a convolution"
    if isinstance(layer, Conv2DLayer) and (layer.stride != (1, 1) or layer.pad != (0, 0)):
        return f"convolution with stride {layer.stride} and pad {layer.pad}, only with stride 1 and without padding"
    nonlinearity = getattr(layer, "nonlinearity", linear)
    if nonlinearity not in (linear, rectify, softmax):
        return f"nonlinearity {nonlinearity}, only rectify and linear, and softmax at the end"
    return None


def _is_unpooled_convolution(entry: NamedLayer, is_pooled: bool) -> bool:
    return isinstance(entry.layer, Conv2DLayer) and not is_pooled
