"""The backward pass of a convolution in the first layer, whose inputs need no gradients.

It has few channels, so a filter has few weights and would gain little from a list of its maxima. All filters visit all
pixels, and a window's gradient counts as zero at pixels that are no maximum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.engines.numba.activations import halve_at_zero, have_several_bits
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
    where_bit_is_set,
)
from pipeline.engines.numba.plan import Memory
from pipeline.engines.numba.views import ImageView, corner_offset, image_view
from pipeline.networks import arrays
from pipeline.networks.arrays import FloatArray

TAPS = WIDTHS.taps


@kernel
def first_convolution_backward(layer: np.record, memory: Memory, image: int, image_slot: int, sums: FloatArray) -> None:
    """Add one image's gradients to those of the first layer's weights.

    Equals `reference.convolution_gradients`, the gradient for the weight, behind `reference.max_pool_gradient` and
    `reference.slope`.

    Parameters
    ----------
    sums : float32 array, as `first_gradient_sums` returns it
        A row of ``padded_units`` for the biases, one for each weight, and rows that are ignored, up to whole `TAPS`.
    """
    view = image_view(layer, memory, image, image_slot)
    if have_several_bits(view.masks):
        halve_at_zero(view.masks, view.output_gradients)
    for weight in range(0, layer.fan_in, TAPS):
        for unit in range(0, layer.padded_units, LANES):
            _backward(layer, memory, view, weight, unit, sums)


@inlined
def _backward(layer: np.record, memory: Memory, view: ImageView, weight: int, unit: int, sums: FloatArray) -> None:
    """Add one image's gradients to those of `TAPS` weights of 16 filters, and of the filters' biases."""
    units = layer.padded_units
    offsets = load_number(memory.filter_offsets, indices(layer.filter_offsets + weight, 1, TAPS))
    rows = indices((1 + weight) * units + unit, units, TAPS)
    weight_sums = load(sums, rows, LANES)
    bias_sums: Any = load(sums, unit, LANES)
    for corner in range(4 if layer.is_pooled else 1):
        start = corner_offset(layer, corner)
        for window in range(len(view.windows)):
            number = window * units + unit
            gradients = load(view.output_gradients, number, LANES)
            gradients = where_bit_is_set(view.masks, number, 1 << corner, gradients)
            here = add(offsets, start + load_number(view.windows, window))
            weight_sums = multiply_add(load_repeated(view.inputs, here, LANES), gradients, weight_sums)
            bias_sums = add(bias_sums, gradients)
    store(sums, rows, weight_sums)
    if weight == 0:
        store(sums, unit, bias_sums)


def first_gradient_sums(layer: np.void) -> FloatArray:
    """Return zeros for `first_convolution_backward` to add to; none if the first layer is dense."""
    rows = 0 if layer["is_dense"] else 1 + -(-int(layer["fan_in"]) // TAPS) * TAPS
    return arrays.zeros((rows * int(layer["padded_units"]),), np.float32)


@kernel
def put_first_gradients(layer: np.record, sums: FloatArray, gradients: FloatArray) -> None:
    """Copy the sums over a chunk's images into its gradients of the weights, ``(padded_units, fan_in)``, and biases."""
    units, fan_in = layer.padded_units, layer.fan_in
    for unit in range(units):
        for weight in range(fan_in):
            gradients[unit * fan_in + weight] = sums[(1 + weight) * units + unit]
        gradients[units * fan_in + unit] = sums[unit]
