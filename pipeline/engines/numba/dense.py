"""Dense layers: the forward pass, and the gradients of the inputs. `updates` computes the gradient of the weights."""

from __future__ import annotations

import numpy as np

from pipeline.engines.numba.activations import rectify, rectify_backward
from pipeline.engines.numba.compiler import kernel
from pipeline.engines.numba.plan import Buffers, Parameters
from pipeline.engines.numba.products import eight_offsets, multiply_eight_rows


@kernel
def dense_forward(layer: np.record, parameters: Parameters, buffers: Buffers, first: int, stop: int) -> None:
    """Compute a dense layer's activations of the images ``first`` to ``stop``."""
    for image in range(first, stop, 8):
        multiply_eight_rows(
            buffers.activations,
            eight_offsets(layer.input, layer.input_size, image, stop),
            (1, 0, layer.fan_in, 1),
            parameters.weights,
            layer.weights,
            layer.padded_units,
            parameters.weights,
            layer.biases,
            buffers.activations,
            eight_offsets(layer.output, layer.output_size, image, stop),
        )
    rectify(layer, buffers, first, stop)


@kernel
def dense_backward(layer: np.record, parameters: Parameters, buffers: Buffers, first: int, stop: int) -> None:
    """Compute the gradients of a dense layer's inputs, of the images ``first`` to ``stop``."""
    rectify_backward(layer, buffers, first, stop)
    if layer.is_first:
        return
    for image in range(first, stop, 8):
        multiply_eight_rows(
            buffers.output_gradients,
            eight_offsets(layer.output, layer.output_size, image, stop),
            (1, 0, layer.units, 1),
            parameters.transposed,
            layer.transposed,
            layer.fan_in,
            buffers.zeros,
            0,
            buffers.output_gradients,
            eight_offsets(layer.input, layer.input_size, image, stop),
        )
