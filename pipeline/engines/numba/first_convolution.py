"""The backward pass of a convolution in the first layer, whose inputs need no gradients.

It has few channels, so a filter has few weights and would gain little from a list of its maxima. All filters visit all
pixels, and a window's gradient counts as zero at pixels that are no maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.engines.numba.activations import halve_at_zero
from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.intrinsics import (
    WIDTHS,
    add,
    indices,
    load,
    load_number,
    load_repeated,
    multiply,
    multiply_add,
    store,
    where_any_bit,
)
from pipeline.engines.numba.plan import TILE, Memory
from pipeline.engines.numba.views import ImageView, image_view
from pipeline.networks.arrays import FloatArray

FILTERS = WIDTHS.filters


@kernel
def first_convolution_backward(
    layer: np.record, memory: Memory, image: int, image_slot: int, gradients: FloatArray
) -> None:
    """Add one image's gradients to those of the first layer's weights.

    Equals `reference.convolution_gradients`, the gradient for the weight, behind `reference.max_pool_gradient` and
    `reference.slope`.

    Parameters
    ----------
    gradients : float32 array, shape ((1 + fan_in + 1) * padded_units,) or more
        Gradients of the biases, of the weights, ``(fan_in, padded_units)``, and a row that is ignored.
    """
    view = image_view(layer, memory, image, image_slot)
    halve_at_zero(view.masks, view.output_gradients)
    for tile in range(0, len(memory.tiles), TILE):
        for unit in range(0, layer.padded_units, FILTERS):
            if layer.is_pooled:
                _backward_from_windows(layer, memory, view, tile, unit, gradients)
            else:
                _backward_from_pixels(layer, memory, view, tile, unit, gradients)


def _backward_of(is_pooled: bool) -> Callable[..., None]:
    """Make the kernel for windows of 2x2 pixels, or of one."""

    @inlined
    def add_products(inputs: Any, left: Any, right: Any, sums: Any) -> Any:
        """Add the products of a row of four inputs with the gradients at the left and right corners of a window."""
        sums = multiply_add(inputs[:3], left, sums)
        if is_pooled:
            sums = multiply_add(inputs[1:], right, sums)
        return sums

    @inlined
    def backward(
        layer: np.record, memory: Memory, view: ImageView, tile: int, unit: int, gradients: FloatArray
    ) -> None:
        """Add one image's gradients to those of a tile of 3x3 weights of `FILTERS` filters, and of the biases.

        The weights of a tile meet 4x4 inputs at the four corners of a window. Each input is read once, row by row.
        """
        columns = load_number(memory.tiles, indices(tile, 1, 4))
        first, second, third, fourth = load_number(memory.tiles, indices(tile + 4, 1, 4))
        targets = add(multiply(load_number(memory.tiles, indices(tile + 8, 1, 9)), layer.padded_units), unit)
        sums = load(gradients, targets, FILTERS)
        upper, middle, lower = sums[:3], sums[3:6], sums[6:]
        bias_sums: Any = load(gradients, unit, FILTERS)
        for window in range(len(view.windows)):
            number = window * layer.padded_units + unit
            gradient = load(view.output_gradients, number, FILTERS)
            upper_left = where_any_bit(view.masks, number, 1, gradient)
            upper_right = where_any_bit(view.masks, number, 2, gradient)
            lower_left = where_any_bit(view.masks, number, 4, gradient)
            lower_right = where_any_bit(view.masks, number, 8, gradient)
            corner = load_number(view.windows, window)
            inputs = load_repeated(view.inputs, add(columns, corner + first), FILTERS)
            upper = add_products(inputs, upper_left, upper_right, upper)
            inputs = load_repeated(view.inputs, add(columns, corner + second), FILTERS)
            if is_pooled:
                upper = add_products(inputs, lower_left, lower_right, upper)
            middle = add_products(inputs, upper_left, upper_right, middle)
            inputs = load_repeated(view.inputs, add(columns, corner + third), FILTERS)
            if is_pooled:
                middle = add_products(inputs, lower_left, lower_right, middle)
            lower = add_products(inputs, upper_left, upper_right, lower)
            bias_sums = add(bias_sums, upper_left)
            if is_pooled:
                inputs = load_repeated(view.inputs, add(columns, corner + fourth), FILTERS)
                lower = add_products(inputs, lower_left, lower_right, lower)
                bias_sums = add(add(add(bias_sums, upper_right), lower_left), lower_right)
        store(gradients, targets, upper + middle + lower)
        if tile == 0:
            store(gradients, unit, bias_sums)

    return backward


_backward_from_windows = _backward_of(is_pooled=True)
_backward_from_pixels = _backward_of(is_pooled=False)
