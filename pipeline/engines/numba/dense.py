"""Dense layers: the forward pass, and the gradients of the inputs. `updates` computes the gradient of the weights."""

from __future__ import annotations

import numpy as np

from pipeline.engines.numba.activations import rectify, rectify_backward
from pipeline.engines.numba.compiler import kernel
from pipeline.engines.numba.plan import IMAGES_PER_CHUNK, Memory
from pipeline.engines.numba.products import multiply_eight_rows
from pipeline.engines.numba.views import outputs_of


@kernel
def dense_forward(layer: np.record, memory: Memory, first: int, stop: int) -> None:
    """Compute a dense layer's activations of the images ``first`` to ``stop``.

    Equals `forward.preactivation`, rectified. The last chunk may hold less than eight images; its other rows are
    computed too, and nobody reads them.
    """
    for image in range(first, stop, IMAGES_PER_CHUNK):
        multiply_eight_rows(
            memory.activations[layer.input + image * layer.input_size :],
            layer.input_size,
            (1, 0, layer.fan_in, 1),
            memory.weights[layer.weights :],
            layer.padded_units,
            memory.weights[layer.biases :],
            memory.activations[layer.output + image * layer.output_size :],
            layer.output_size,
        )
    outputs, masks = outputs_of(layer, memory.activations, first, stop), outputs_of(layer, memory.masks, first, stop)
    rectify(layer, outputs, masks)


@kernel
def dense_backward(layer: np.record, memory: Memory, first: int, stop: int) -> None:
    """Compute the gradients of a dense layer's inputs, of the images ``first`` to ``stop``.

    Equals `reference.dense_gradients`, the gradient for the values, behind the rectifier's slope.
    """
    rectify_backward(layer, memory, first, stop)
    if layer.is_first:
        return
    for image in range(first, stop, IMAGES_PER_CHUNK):
        multiply_eight_rows(
            memory.output_gradients[layer.output + image * layer.output_size :],
            layer.output_size,
            (1, 0, layer.units, 1),
            memory.transposed[layer.weights :],
            layer.fan_in,
            memory.zeros,
            memory.output_gradients[layer.input + image * layer.input_size :],
            layer.input_size,
        )
