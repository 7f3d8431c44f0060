"""The backward pass of a convolution behind the first layer, of one image at a time.

An output has no gradient where the rectifier is closed, and a pooling window passes its own on to its maximum. So a
filter meets few pixels of the image. They are listed first, and each list is used for all weights of the filter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.engines.numba.activations import halve_at_zero
from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.intrinsics import (
    LANES,
    WIDTHS,
    add,
    first_maxima,
    indices,
    load,
    load_number,
    load_repeated,
    multiply_add,
    store,
    store_number,
    where_any_bit,
)
from pipeline.engines.numba.plan import Memory, Plan
from pipeline.engines.numba.views import ImageView, corner_offset, image_view
from pipeline.networks.arrays import FloatArray, IntArray

WEIGHTS = WIDTHS.weights

ANY_MAXIMUM = 1 | 2 | 4 | 8
"""The bits of a mask for the four corners of a window."""

Offsets = npt.NDArray[np.int32]


class Maxima(NamedTuple):
    """The maxima in one image that have a gradient, a list for each filter: memory for one thread."""

    first: Offsets
    """The first maximum of each window: the offset where the filter's first weight meets the image, or -1."""
    inputs: Offsets
    """The same offset for each entry of the lists, shape (filters, longest list)."""
    gradients: FloatArray
    """The output gradient of each entry."""
    lengths: IntArray
    """The length of each list."""


def maxima_of(plan: Plan) -> Maxima:
    """Return empty lists for any convolution behind the first layer."""
    layers = [layer for layer in plan if not layer["is_dense"] and not layer["is_first"]]
    filters = max((int(layer["padded_units"]) for layer in layers), default=0)
    # All four corners of a window may be maxima.
    length = 4 * max((int(layer["windows"]) for layer in layers), default=0)
    size = max((int(layer["output_size"]) for layer in layers), default=0)
    lists = (filters, length)
    return Maxima(
        np.zeros(size, np.int32), np.zeros(lists, np.int32), np.zeros(lists, np.float32), np.zeros(filters, np.int64)
    )


@kernel
def convolution_backward(
    layer: np.record, memory: Memory, image: int, image_slot: int, gradients: FloatArray, maxima: Maxima
) -> None:
    """Add one image's gradients to those of a layer's weights, and compute the gradients of its inputs.

    Equals `reference.convolution_gradients` behind `reference.max_pool_gradient` and `reference.slope`.

    Parameters
    ----------
    gradients : float32 array, shape (padded_units + padded_units * fan_in,) or more
        Gradients of the biases, and of the weights, ``(padded_units, fan_in)``.
    maxima : Maxima
        Overwritten.
    """
    view = image_view(layer, memory, image, image_slot)
    _list_gradients(layer, view, gradients[: layer.padded_units], maxima)
    of_weights = gradients[layer.padded_units :]
    view.input_gradients[:] = 0
    wide_fan_in = layer.fan_in // WEIGHTS * WEIGHTS
    for unit in range(layer.units):
        for weight in range(0, wide_fan_in, WEIGHTS):
            _wide_backward(layer, memory, view, maxima, of_weights, unit, weight)
        for weight in range(wide_fan_in, layer.fan_in, LANES):
            _narrow_backward(layer, memory, view, maxima, of_weights, unit, weight)


@kernel
def _list_gradients(layer: np.record, view: ImageView, biases: FloatArray, maxima: Maxima) -> None:
    """List the maxima that have a gradient, and add their gradients to those of the biases."""
    may_have_ties = halve_at_zero(view.masks, view.output_gradients)
    _find_first_maxima(layer, view, biases, maxima.first)
    _list_first_maxima(layer, view.output_gradients, maxima)
    if may_have_ties:
        _list_ties(layer, view, biases, maxima)


@kernel
def _find_first_maxima(layer: np.record, view: ImageView, biases: FloatArray, first: Offsets) -> None:
    """Find the first maximum of each window, for 16 filters at once, and sum the gradients."""
    units, right, below = layer.padded_units, layer.channels, layer.columns * layer.channels
    for unit in range(0, units, LANES):
        total: Any = load(biases, unit, LANES)
        for window in range(len(view.windows)):
            number = window * units + unit
            offsets = first_maxima(view.masks, number, load_number(view.windows, window), right, below)
            store(first, number, offsets)
            gradients = load(view.output_gradients, number, LANES)
            total = add(total, where_any_bit(view.masks, number, ANY_MAXIMUM, gradients))
        store(biases, unit, total)


@kernel
def _list_first_maxima(layer: np.record, gradients: FloatArray, maxima: Maxima) -> None:
    """List each filter's maxima."""
    units, size, length = layer.padded_units, layer.output_size, maxima.inputs.shape[1]
    for unit in range(units):
        end, number = unit * length, unit
        while number < size:
            # Each entry is written, and counted if it has a maximum: processors often mispredict a branch here.
            offset = load_number(maxima.first, number)
            store_number(maxima.inputs, end, offset)
            store_number(maxima.gradients, end, load_number(gradients, number))
            end += offset >= 0
            number += units
        maxima.lengths[unit] = end - unit * length


@kernel
def _list_ties(layer: np.record, view: ImageView, biases: FloatArray, maxima: Maxima) -> None:
    """List the maxima of each window after the first one, which are rare: each gets the whole gradient."""
    for number in range(layer.output_size):
        window, unit = number // layer.padded_units, number % layer.padded_units
        gradient, mask = view.output_gradients[number], view.masks[number]
        for corner in range(1, 4):
            if (mask & (mask - 1)) >> corner & 1:
                end = maxima.lengths[unit]
                maxima.inputs[unit, end] = view.windows[window] + corner_offset(layer, corner)
                maxima.gradients[unit, end] = gradient
                maxima.lengths[unit] = end + 1
                biases[unit] += gradient


def _backward_of(vectors: int) -> Callable[..., None]:
    """Make the kernel for ``vectors`` of 16 weights."""

    @inlined
    def backward(
        layer: np.record,
        memory: Memory,
        view: ImageView,
        maxima: Maxima,
        gradients: FloatArray,
        unit: int,
        weight: int,
    ) -> None:
        """Add a filter's listed gradients to the gradients of some of its weights and of their inputs."""
        offsets = load_number(memory.filter_offsets, indices(layer.filter_offsets + weight, LANES, vectors))
        numbers = indices(unit * layer.fan_in + weight, LANES, vectors)
        weights, sums = load(memory.weights, add(numbers, layer.weights), LANES), load(gradients, numbers, LANES)
        start = unit * maxima.inputs.shape[1]
        for entry in range(start, start + maxima.lengths[unit]):
            gradient = load_repeated(maxima.gradients, entry, LANES)
            here = add(offsets, np.int64(load_number(maxima.inputs, entry)))
            sums = multiply_add(gradient, load(view.inputs, here, LANES), sums)
            input_gradients = multiply_add(gradient, weights, load(view.input_gradients, here, LANES))
            store(view.input_gradients, here, input_gradients)
        store(gradients, numbers, sums)

    return backward


_wide_backward = _backward_of(WEIGHTS // LANES)
_narrow_backward = _backward_of(1)
