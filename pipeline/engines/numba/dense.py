"""Dense layers: forward, and back to what came in. The gradient of the weights is in `updates`."""

from __future__ import annotations

import numpy as np

from pipeline.engines.numba.activations import follow_slopes, rectify
from pipeline.engines.numba.compiler import kernel
from pipeline.engines.numba.plan import Buffers, Parameters
from pipeline.engines.numba.products import eight_rows, eight_starts


@kernel
def dense_forward(layer: np.record, parameters: Parameters, buffers: Buffers, first: int, stop: int) -> None:
    """Compute a dense layer's activations of the images from ``first`` up to ``stop``."""
    for image in range(first, stop, 8):
        eight_rows(
            buffers.activations,
            eight_starts(layer.input, layer.input_size, image, stop),
            (1, 0, layer.channels, 1),
            parameters.weights,
            layer.weights,
            layer.width,
            parameters.weights,
            layer.biases,
            buffers.activations,
            eight_starts(layer.output, layer.output_size, image, stop),
        )
    if layer.is_rectified:
        start, end = layer.output + first * layer.output_size, layer.output + stop * layer.output_size
        rectify(buffers.activations[start:end], buffers.slopes[start:end])


@kernel
def dense_backward(layer: np.record, parameters: Parameters, buffers: Buffers, first: int, stop: int) -> None:
    """Compute the signals at a dense layer's input from those at its output, of the images ``first`` to ``stop``."""
    if layer.is_rectified:
        start, end = layer.output + first * layer.output_size, layer.output + stop * layer.output_size
        follow_slopes(buffers.signals[start:end], buffers.slopes[start:end])
    if layer.is_first:
        return
    for image in range(first, stop, 8):
        eight_rows(
            buffers.signals,
            eight_starts(layer.output, layer.output_size, image, stop),
            (1, 0, layer.units, 1),
            parameters.transposed,
            layer.transposed,
            layer.channels,
            buffers.zeros,
            0,
            buffers.signals,
            eight_starts(layer.input, layer.input_size, image, stop),
        )
