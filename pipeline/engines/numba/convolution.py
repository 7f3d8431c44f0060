"""Convolution, with or without 2x2 maximum pooling after it, of one image at a time.

The pooling window is taken before the rectifier, which changes neither a value nor a gradient: the
rectifier keeps the order of values; where the maximum is above 0 it keeps the ties too; where the
maximum is exactly 0, only those at exactly 0 have a slope, one half; below 0 none has.

Taps are the weights of one filter, ``(filter rows, filter columns, channels)``. Those of one filter row
lie side by side, and so do the values of the image that they meet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.engines.numba.activations import rectify
from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.plan import Buffers, Parameters
from pipeline.engines.numba.products import (
    Four,
    FourVectors,
    Walk,
    eight_rows,
    eight_starts,
    row_sums_16,
    row_sums_32,
    row_sums_64,
    sums_of_two_windows,
)
from pipeline.engines.numba.vectors import HAS_AVX512, LANES, greatest, rectified, rectifier_slopes, store, store_equal


@kernel
def convolution_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    """Compute a convolution's activations of one image, pooled where pooling follows."""
    if not layer.is_pooled:
        _unpooled_forward(layer, parameters, buffers, image)
    # Eight sums need more registers than processors without AVX-512 have.
    elif layer.width == LANES and HAS_AVX512:
        _narrow_pooled_forward(layer, parameters, buffers, image)
    else:
        _pooled_forward(layer, parameters, buffers, image)


@kernel
def _pooled_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    """Convolve with any number of filters and pool, a window at a time."""
    channels, width = layer.channels, layer.width
    line = layer.columns * channels
    walk = (layer.filter_rows, line, layer.filter_columns * channels, 1)
    place = layer.output + image * layer.output_size
    for row in range(layer.output_rows):
        start = layer.input + image * layer.input_size + 2 * row * line
        for _ in range(layer.output_columns):
            starts = (start, start + channels, start + line, start + line + channels)
            unit = 0
            while width - unit >= 64 and HAS_AVX512:
                _pool(layer, _window_64(layer, parameters, buffers, starts, walk, unit), buffers, place + unit)
                unit += 64
            while width - unit >= 32 and HAS_AVX512:
                _pool(layer, _window_32(layer, parameters, buffers, starts, walk, unit), buffers, place + unit)
                unit += 32
            while unit < width:
                _pool(layer, _window_16(layer, parameters, buffers, starts, walk, unit), buffers, place + unit)
                unit += 16
            start += 2 * channels
            place += width


def _window_of(row_sums: Callable[..., FourVectors]) -> Callable[..., FourVectors]:
    """Make the kernel that convolves the four places of a window with as many filters as ``row_sums`` has columns."""

    @inlined
    def window(
        layer: np.record, parameters: Parameters, buffers: Buffers, starts: Four, walk: Walk, unit: int
    ) -> FourVectors:
        return row_sums(
            buffers.activations,
            starts,
            walk,
            parameters.transposed,
            layer.transposed + unit,
            layer.width,
            parameters.weights,
            layer.biases + unit,
        )

    return window


_window_64 = _window_of(row_sums_64)
_window_32 = _window_of(row_sums_32)
_window_16 = _window_of(row_sums_16)


@kernel
def _narrow_pooled_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    """Convolve with up to 16 filters and pool, two windows at a time; a last one by itself is done twice."""
    channels, columns = layer.channels, layer.output_columns
    line = layer.columns * channels
    places = buffers.tap_places[layer.tap_places :][: layer.filter_rows * layer.filter_columns * channels]
    for row in range(layer.output_rows):
        start = layer.input + image * layer.input_size + 2 * row * line
        place = layer.output + image * layer.output_size + row * columns * LANES
        for column in range(0, columns, 2):
            to_second = min(column + 1, columns - 1) - column
            window, next_window = sums_of_two_windows(
                buffers.activations,
                start + 2 * channels * column,
                (2 * channels * to_second, line, channels),
                places,
                parameters.transposed,
                layer.transposed,
                parameters.weights,
                layer.biases,
            )
            _pool(layer, window, buffers, place + LANES * column)
            _pool(layer, next_window, buffers, place + LANES * (column + to_second))


@inlined
def _pool(layer: np.record, window: FourVectors, buffers: Buffers, place: int) -> None:
    """Take the maximum of each window, note which of its four values equal it, one bit for each, and rectify."""
    maxima = greatest(window)
    store_equal(buffers.winners, place, maxima, window)
    if layer.is_rectified:
        store(buffers.slopes, place, rectifier_slopes(maxima))
        maxima = rectified(maxima)
    store(buffers.activations, place, maxima)


@kernel
def _unpooled_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    """Convolve, eight places of a row at a time, and rectify."""
    line = layer.columns * layer.channels
    walk = (layer.filter_rows, line, layer.filter_columns * layer.channels, 1)
    columns, width = layer.output_columns, layer.width
    start, place = layer.input + image * layer.input_size, layer.output + image * layer.output_size
    for row in range(layer.output_rows):
        for column in range(0, columns, 8):
            eight_rows(
                buffers.activations,
                eight_starts(start + row * line, layer.channels, column, columns),
                walk,
                parameters.transposed,
                layer.transposed,
                width,
                parameters.weights,
                layer.biases,
                buffers.activations,
                eight_starts(place + row * columns * width, width, column, columns),
            )
    if layer.is_rectified:
        end = place + layer.output_size
        rectify(buffers.activations[place:end], buffers.slopes[place:end])
