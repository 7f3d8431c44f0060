"""Compute every layer's output in NumPy, for any declared network: slow, and close to the formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pipeline.networks.declaration import NamedLayer, Network
from pipeline.networks.layers import Conv2DLayer, DenseLayer, MaxPool2DLayer, Nonlinearity, Pair

Values = npt.NDArray[np.floating[Any]]


def layer_outputs(network: Network, weights: Mapping[str, Values], images: Values) -> list[Values]:
    """Return the images, then the output of each layer after the input; the last are the probabilities.

    Images have the shape ``(N, *Network.input_shape)``, an output ``(N, *NamedLayer.output_shape)``. The outputs have
    the type of the images, or of the weights if that is wider.
    """
    outputs = [images]
    for entry in network.layers[1:]:
        outputs.append(_output(entry, weights, outputs[-1]))
    return outputs


def preactivation(entry: NamedLayer, weights: Mapping[str, Values], values: Values) -> Values:
    """Return the input of the nonlinearity of a dense layer or a convolution."""
    weight, bias = weights[f"{entry.name}/W"], weights[f"{entry.name}/b"]
    if isinstance(entry.layer, Conv2DLayer):
        return _convolved(values, entry.layer, weight) + bias[:, None, None]
    result: Values = values.reshape(len(values), -1) @ weight + bias
    return result


def activated(nonlinearity: Nonlinearity, x: Values) -> Values:
    """Apply a nonlinearity; softmax to each row."""
    result: Values
    match nonlinearity:
        case Nonlinearity.linear:
            result = x
        case Nonlinearity.rectify:
            result = np.maximum(x, 0)
        case Nonlinearity.sigmoid:
            result = np.exp(-np.logaddexp(0, -x))  # 1 / (1 + exp(-x)), without an exp() that overflows
        case Nonlinearity.tanh:
            result = np.tanh(x)
        case Nonlinearity.softmax:
            exponentials = np.exp(x - x.max(1, keepdims=True))
            result = exponentials / exponentials.sum(1, keepdims=True)
    return result


def _output(entry: NamedLayer, weights: Mapping[str, Values], values: Values) -> Values:
    layer = entry.layer
    if isinstance(layer, MaxPool2DLayer):
        maxima: Values = _windows(values, layer.pool_size, layer.stride or layer.pool_size).max((4, 5))
        return maxima
    assert isinstance(layer, Conv2DLayer | DenseLayer)
    return activated(layer.nonlinearity, preactivation(entry, weights, values))


def _convolved(values: Values, layer: Conv2DLayer, weight: Values) -> Values:
    """Convolve images with filters, which are flipped on both axes."""
    (rows, columns), flipped = layer.pad, weight[:, :, ::-1, ::-1]
    padded = np.pad(values, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
    products = np.tensordot(_windows(padded, layer.filter_size, layer.stride), flipped, ([1, 4, 5], [1, 2, 3]))
    return np.moveaxis(products, -1, 1)


def _windows(values: Values, size: Pair, stride: Pair) -> Values:
    """Return the windows over images, shape (N, channels, rows of windows, columns of windows, rows, columns)."""
    return sliding_window_view(values, size, (2, 3))[:, :, :: stride[0], :: stride[1]]
