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

WINDOWS, HALF = ROWS // 4, ROWS // 2
"""Pooling windows at once, and the number of pixels in their upper rows."""


@kernel
def convolution_forward(layer: np.record, memory: Memory, image: int, image_slot: int) -> None:
    """Compute a convolution's activations of one image, with the pooling behind it if there is one.

    Equals `forward.convolved` plus biases, `forward.max_pooled` and `forward.activated`.
    """
    view = image_view(layer, memory, image, image_slot)
    if layer.is_pooled:
        for window in range(0, layer.windows, WINDOWS):
            _compute_windows(layer, view, window)
    else:
        for pixel in range(0, layer.windows, ROWS):
            _compute_pixels(layer, view, pixel)
        rectify(layer, view.outputs, view.masks)


@functools.cache
def _filter_sums_of(width: int) -> Callable[..., Any]:
    """Make the kernel for ``width`` filters."""
    row_sums = row_sums_of(width)

    @inlined
    def filter_sums(layer: np.record, view: ImageView, starts: tuple[int, ...], unit: int) -> Any:
        """Convolve at `ROWS` pixels with some filters."""
        strides = layer.filter_rows, layer.columns * layer.channels, layer.filter_columns * layer.channels, 1
        return row_sums(view.inputs, starts, strides, view.filters, unit, layer.padded_units, view.biases)

    return filter_sums


_wide_filter_sums = _filter_sums_of(COLUMNS)
_filter_sums = _filter_sums_of(LANES)


@inlined
def _compute_windows(layer: np.record, view: ImageView, window: int) -> None:
    """Convolve in `WINDOWS` windows with all filters, and pool; the last window stands in for missing ones."""
    windows = at_most(indices(window, 1, WINDOWS), layer.windows - 1)
    upper_left, targets = load_number(view.windows, windows), multiply(windows, layer.padded_units)
    # The upper left pixel of each window, then the upper right ones, lower left, lower right: see `_pool`.
    upper = upper_left + add(upper_left, layer.channels)
    starts = upper + add(upper, layer.columns * layer.channels)
    wide_units = layer.padded_units // COLUMNS * COLUMNS
    for unit in range(0, wide_units, COLUMNS):
        _pool(layer, view, add(targets, unit), _wide_filter_sums(layer, view, starts, unit))
    for unit in range(wide_units, layer.padded_units, LANES):
        _pool(layer, view, add(targets, unit), _filter_sums(layer, view, starts, unit))


@inlined
def _pool(layer: np.record, view: ImageView, targets: tuple[int, ...], sums: Any) -> None:
    """Write the maximum of each window, rectified, and the mask of the sums that equal it."""
    corners = sums[:WINDOWS], sums[WINDOWS:HALF], sums[HALF:][:WINDOWS], sums[HALF:][WINDOWS:]
    maxima = maximum_of_four(*corners)
    masks = maximum_masks(*corners, maxima)
    if layer.is_rectified:
        masks, maxima = rectified_masks(masks, maxima, AT_ZERO), rectified(maxima)
    store(view.outputs, targets, maxima)
    store(view.masks, targets, masks)


@inlined
def _compute_pixels(layer: np.record, view: ImageView, pixel: int) -> None:
    """Convolve at `ROWS` pixels with all filters; the last pixel stands in for missing ones."""
    pixels = at_most(indices(pixel, 1, ROWS), layer.windows - 1)
    starts, targets = load_number(view.windows, pixels), multiply(pixels, layer.padded_units)
    for unit in range(0, layer.padded_units, LANES):
        store(view.outputs, add(targets, unit), _filter_sums(layer, view, starts, unit))
