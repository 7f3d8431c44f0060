"""The forward pass of a convolution, with or without 2x2 max pooling, of one image at a time.

Pooling comes before the rectifier, which changes no value and no gradient: the rectifier keeps the order of values. If
the maximum is above 0, it keeps the ties too. If the maximum is exactly 0, only the values at 0 have a slope, one half.
Below 0 no value has a slope.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.engines.numba.activations import rectify
from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.intrinsics import (
    LANES,
    add,
    at_most,
    indices,
    load,
    load_number,
    maximum_masks,
    maximum_of_four,
    multiply,
    rectified,
    rectified_masks,
    store,
)
from pipeline.engines.numba.plan import AT_ZERO, Memory
from pipeline.engines.numba.products import COLUMNS, ROWS, row_sums_of
from pipeline.engines.numba.views import ImageView, image_view

WINDOWS = ROWS // 4
"""Pooling windows at once."""


@kernel
def convolution_forward(layer: np.record, memory: Memory, image: int, image_slot: int) -> None:
    """Compute a convolution's activations of one image, with the pooling behind it if there is one.

    Equals `forward.convolved` plus biases, `forward.max_pooled` and `forward.activated`.
    """
    view = image_view(layer, memory, image, image_slot)
    if layer.is_pooled:
        for window in range(0, layer.windows, WINDOWS):
            _compute_windows(layer, memory, view, window)
    else:
        for pixel in range(0, layer.windows, ROWS):
            _compute_pixels(layer, memory, view, pixel)
        rectify(layer, view.outputs, view.masks)


@inlined
def _compute_windows(layer: np.record, memory: Memory, view: ImageView, window: int) -> None:
    """Convolve at the corners of `WINDOWS` windows with all filters, and pool."""
    starts = _corners(layer, view, window)
    unit = 0
    while unit < layer.padded_units:
        if layer.padded_units - unit >= COLUMNS:
            _put(layer, view, window, unit, _wide_filter_sums(layer, memory, view, starts, unit))
            unit += COLUMNS
        else:
            _put(layer, view, window, unit, _filter_sums(layer, memory, view, starts, unit))
            unit += LANES


@functools.cache
def _filter_sums_of(width: int) -> Callable[..., Any]:
    """Make the kernel for ``width`` filters."""
    row_sums = row_sums_of(width)

    @inlined
    def filter_sums(layer: np.record, memory: Memory, view: ImageView, starts: Any, unit: int) -> Any:
        """Convolve at `ROWS` pixels with some filters."""
        strides = layer.filter_rows, layer.columns * layer.channels, layer.filter_columns * layer.channels, 1
        # The same index for each row: the sums of all rows begin with the biases.
        biases = load(memory.weights, indices(layer.biases + unit, 0, ROWS), width)
        first = layer.transposed + unit
        return row_sums(view.inputs, starts, strides, memory.transposed, first, layer.padded_units, biases)

    return filter_sums


_wide_filter_sums = _filter_sums_of(COLUMNS)
_filter_sums = _filter_sums_of(LANES)


@inlined
def _corners_of_one(layer: np.record, view: ImageView, window: int) -> tuple[int, ...]:
    """Return the offset of the first input of each of a window's four corners."""
    right, below = layer.channels, layer.columns * layer.channels
    start = load_number(view.windows, window)
    return start, start + right, start + below, start + below + right


@inlined
def _corners_of_two(layer: np.record, view: ImageView, window: int) -> tuple[int, ...]:
    """Return those of a window and of the next one; the last one stands in for a missing next one."""
    following = min(window + 1, layer.windows - 1)
    return _corners_of_one(layer, view, window) + _corners_of_one(layer, view, following)


@inlined
def _put_one(layer: np.record, view: ImageView, window: int, unit: int, sums: Any) -> None:
    """Write a window's maximum, rectified, and the mask of the sums that equal it."""
    one, two, three, four = sums
    maxima = maximum_of_four(one, two, three, four)
    masks = maximum_masks(one, two, three, four, maxima)
    if layer.is_rectified:
        masks, maxima = rectified_masks(masks, maxima, AT_ZERO), rectified(maxima)
    store(view.outputs, window * layer.padded_units + unit, maxima)
    store(view.masks, window * layer.padded_units + unit, masks)


@inlined
def _put_two(layer: np.record, view: ImageView, window: int, unit: int, sums: Any) -> None:
    """Write those of a window and of the next one."""
    _put_one(layer, view, window, unit, sums[:4])
    _put_one(layer, view, min(window + 1, layer.windows - 1), unit, sums[4:])


_corners, _put = (_corners_of_one, _put_one) if WINDOWS == 1 else (_corners_of_two, _put_two)


@inlined
def _compute_pixels(layer: np.record, memory: Memory, view: ImageView, pixel: int) -> None:
    """Convolve at `ROWS` pixels with all filters; the last pixel stands in for missing ones."""
    pixels = at_most(indices(pixel, 1, ROWS), layer.windows - 1)
    starts, targets = load_number(view.windows, pixels), multiply(pixels, layer.padded_units)
    for unit in range(0, layer.padded_units, LANES):
        store(view.outputs, add(targets, unit), _filter_sums(layer, memory, view, starts, unit))
