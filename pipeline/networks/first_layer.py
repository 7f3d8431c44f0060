"""Arrange the weights of a network's first layer as pictures."""

from __future__ import annotations

from pipeline.networks.arrays import FloatArray
from pipeline.networks.declaration import NamedLayer, Network
from pipeline.networks.layers import Conv2DLayer
from pipeline.networks.weights import Weights


def first_layer(network: Network) -> NamedLayer:
    """Return the first layer that has weights."""
    return next(layer for layer in network.layers if layer.weight_shapes)


def first_layer_pictures(network: Network, weights: Weights, most: int) -> FloatArray | None:
    """Return weights of the first layer in the orientation of the image, shape (``most`` units, rows, columns).

    Filters are flipped on both axes, as a convolution flips them. The weights of a dense layer are arranged like the
    image's pixels, and those of a flat image as a square; None stands for one that is no square. Several channels are
    averaged.
    """
    layer = first_layer(network)
    values = weights[f"{layer.name}/W"]
    pictures: FloatArray
    if isinstance(layer.layer, Conv2DLayer):
        pictures = values[:most].mean(1)[:, ::-1, ::-1]
        return pictures
    shape = layer.input_shape
    if len(shape) == 1:
        if network.picture_size is None:
            return None
        shape = (1, *network.picture_size)
    pictures = values[:, :most].T.reshape(-1, *shape).mean(1)
    return pictures
