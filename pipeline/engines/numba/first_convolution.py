"""The backward pass of a convolution in the first layer, whose inputs need no gradients.

It has few channels, so a filter has few weights and would gain little from a list of its maxima. All filters visit all
pixels, and a window's gradient counts as zero at pixels that are no maximum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.engines.numba.activations import halve_at_zero
from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.intrinsics import (
    LANES,
    WIDTHS,
    add,
    indices,
    load,
    load_number,
    load_repeated,
    multiply_add,
    store,
    where_any_bit,
)
from pipeline.engines.numba.plan import Memory
from pipeline.engines.numba.views import ImageView, corner_offset, image_view
from pipeline.networks.arrays import FloatArray

TAPS = WIDTHS.taps


@kernel
def first_convolution_backward(
    layer: np.record, memory: Memory, image: int, image_slot: int, gradients: FloatArray
) -> None:
    """Add one image's gradients to those of the first layer's weights.

    Equals `reference.convolution_gradients`, the gradient for the weight, behind `reference.max_pool_gradient` and
    `reference.slope`.

    Parameters
    ----------
    gradients : float32 array, shape ((1 + rows of weights) * padded_units,) or more
        Gradients of the biases, and of the weights, ``(fan_in, padded_units)`` and rows that are ignored, up to whole
        `TAPS`.
    """
    view = image_view(layer, memory, image, image_slot)
    halve_at_zero(view.masks, view.output_gradients)
    for weight in range(0, layer.fan_in, TAPS):
        for unit in range(0, layer.padded_units, LANES):
            _backward(layer, memory, view, weight, unit, gradients)


@inlined
def _backward(layer: np.record, memory: Memory, view: ImageView, weight: int, unit: int, gradients: FloatArray) -> None:
    """Add one image's gradients to those of `TAPS` weights of 16 filters, and of the filters' biases."""
    units = layer.padded_units
    offsets = load_number(memory.filter_offsets, indices(layer.filter_offsets + weight, 1, TAPS))
    rows = indices((1 + weight) * units + unit, units, TAPS)
    weight_sums = load(gradients, rows, LANES)
    bias_sums: Any = load(gradients, unit, LANES)
    for corner in range(4 if layer.is_pooled else 1):
        start = corner_offset(layer, corner)
        for window in range(len(view.windows)):
            number = window * units + unit
            of_outputs = load(view.output_gradients, number, LANES)
            of_outputs = where_any_bit(view.masks, number, 1 << corner, of_outputs)
            here = add(offsets, start + load_number(view.windows, window))
            weight_sums = multiply_add(load_repeated(view.inputs, here, LANES), of_outputs, weight_sums)
            bias_sums = add(bias_sums, of_outputs)
    store(gradients, rows, weight_sums)
    if weight == 0:
        store(gradients, unit, bias_sums)
