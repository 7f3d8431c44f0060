"""Compute every layer's output in NumPy, for any declared network: slow, and close to the formulas.

Products are those of `numpy.einsum`, which computes in one thread, so that the same values give the same bits. ``@``
calls BLAS, whose threads keep a core busy for a tenth of a second after a large product: a training would be slower.
"""

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

    Images have the shape ``(N, *Network.input_shape)``, outputs ``(N, *NamedLayer.output_shape)`` and the images' type.
    """
    outputs = [images]
    for entry in network.layers[1:]:
        outputs.append(_output(entry, weights, outputs[-1]))
    return outputs


def preactivation(entry: NamedLayer, weights: Mapping[str, Values], values: Values) -> Values:
    """Return the input of the nonlinearity of a dense layer or a convolution."""
    weight, bias = (weights[f"{entry.name}/{kind}"].astype(values.dtype, copy=False) for kind in "Wb")
    if isinstance(entry.layer, Conv2DLayer):
        return convolved(values, entry.layer, weight) + bias[:, None, None]
    products: Values = np.einsum("nk,ku->nu", values.reshape(-1, len(weight)), weight)
    return products + bias


def convolved(values: Values, layer: Conv2DLayer, weight: Values) -> Values:
    """Convolve images with filters, which are flipped on both axes; add no biases."""
    filters = weight[:, :, ::-1, ::-1].reshape(layer.num_filters, -1)
    above, before = layer.pad
    padded = np.pad(values, ((0, 0), (0, 0), (above, above), (before, before)))
    windows = _windows(padded, layer.filter_size, layer.stride).transpose(1, 4, 5, 0, 2, 3)
    products: Values = np.einsum("fk,kp->fp", filters, windows.reshape(filters.shape[1], -1))
    return products.reshape(layer.num_filters, *windows.shape[3:]).swapaxes(0, 1)


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


def max_pooled(values: Values, layer: MaxPool2DLayer) -> Values:
    """Return the maximum of each pooling window."""
    windows = _windows(values, layer.pool_size, layer.stride or layer.pool_size)
    # The maximum over the two short axes, which NumPy computes ten times as fast like this.
    maxima: Values = np.maximum.reduce([windows[..., row, column] for row, column in np.ndindex(layer.pool_size)])
    return maxima


def _output(entry: NamedLayer, weights: Mapping[str, Values], values: Values) -> Values:
    layer = entry.layer
    if isinstance(layer, MaxPool2DLayer):
        return max_pooled(values, layer)
    assert isinstance(layer, Conv2DLayer | DenseLayer)
    return activated(layer.nonlinearity, preactivation(entry, weights, values))


def _windows(values: Values, size: Pair, stride: Pair) -> Values:
    """Return the windows over images, shape (N, channels, rows of windows, columns of windows, rows, columns)."""
    return sliding_window_view(values, size, (2, 3))[:, :, :: stride[0], :: stride[1]]
