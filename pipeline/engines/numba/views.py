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


@inlined
def image_view(layer: np.record, memory: Memory, image: int) -> ImageView:
    """View one image's numbers at a convolution."""
    first, stop = layer.input + image * layer.input_size, layer.input + (image + 1) * layer.input_size
    return ImageView(
        memory.activations[first:stop],
        memory.output_gradients[first:stop],
        memory.window_offsets[layer.window_offsets : layer.window_offsets + layer.windows],
        outputs_of(layer, memory.activations, image, image + 1),
        outputs_of(layer, memory.output_gradients, image, image + 1),
        outputs_of(layer, memory.masks, image, image + 1),
    )


@inlined
def outputs_of(layer: np.record, values: Values, first: int, stop: int) -> Values:
    """View a layer's outputs for the images ``first`` to ``stop``, shape ``(images, windows, padded units)``."""
    return values[layer.output + first * layer.output_size : layer.output + stop * layer.output_size]


@inlined
def offset_of_place(layer: np.record, place: int) -> int:
    """Return the distance of a window's place 0, 1, 2 or 3, by rows, from its first one."""
    offset: int = (place // 2 * layer.columns + place % 2) * layer.channels
    return offset
