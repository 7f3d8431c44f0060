"""The numbers of one layer and one image in the flat arrays: a kernel counts from the beginning of a view."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np

from pipeline.engines.numba.compiler import inlined
from pipeline.engines.numba.plan import Memory
from pipeline.networks.arrays import ByteArray, FloatArray, IntArray

Values = TypeVar("Values", FloatArray, ByteArray)


class ImageView(NamedTuple):
    """What a convolution reads and writes of one image: inputs ``(rows, columns, channels)``, and outputs."""

    inputs: FloatArray
    input_gradients: FloatArray
    windows: IntArray
    """The layer's `Memory.window_offsets`."""
    outputs: FloatArray
    """Shape (windows, padded units), like its gradients and masks."""
    output_gradients: FloatArray
    masks: ByteArray
    filters: FloatArray
    """The layer's weights as the forward pass reads them, shape (fan_in, padded units)."""
    biases: FloatArray


@inlined
def image_view(layer: np.record, memory: Memory, image: int, image_slot: int) -> ImageView:
    """View one image's numbers at a convolution.

    Parameters
    ----------
    image : int
        Its number in the minibatch.
    image_slot : int
        The number of its memory among those of the threads, which have eight each.
    """
    first, stop = layer.input + image_slot * layer.input_size, layer.input + (image_slot + 1) * layer.input_size
    output = image if layer.feeds_dense else image_slot
    weights = memory.weights if layer.is_first else memory.transposed
    return ImageView(
        memory.activations[first:stop],
        memory.output_gradients[first:stop],
        memory.window_offsets[layer.window_offsets : layer.window_offsets + layer.windows],
        outputs_of(layer, memory.activations, output, output + 1),
        outputs_of(layer, memory.output_gradients, output, output + 1),
        outputs_of(layer, memory.masks, output, output + 1),
        weights[layer.weights : layer.weights + layer.fan_in * layer.padded_units],
        memory.weights[layer.biases : layer.biases + layer.padded_units],
    )


@inlined
def outputs_of(layer: np.record, values: Values, first: int, stop: int) -> Values:
    """View a layer's outputs for the images ``first`` to ``stop``, shape ``(images, windows, padded units)``."""
    return values[layer.output + first * layer.output_size : layer.output + stop * layer.output_size]


@inlined
def corner_offset(layer: np.record, corner: int) -> int:
    """Return the distance of a window's corner 0, 1, 2 or 3, by rows, from its first one."""
    offset: int = (corner // 2 * layer.columns + corner % 2) * layer.channels
    return offset
