"""The forward pass of a convolution, with or without 2x2 max pooling, of one image at a time.

Pooling comes before the rectifier, which changes no value and no gradient: the rectifier keeps the order of values. If
the maximum is above 0, it keeps the ties too. If the maximum is exactly 0, only the values at 0 have a slope, one half.
Below 0 no value has a slope.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.engines.numba.activations import rectify
from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.intrinsics import (
    HAS_AVX512,
    LANES,
    maximum_of_four,
    rectified,
    rectifier_slopes,
    store,
    store_equality_mask,
)
from pipeline.engines.numba.plan import Buffers, Parameters
from pipeline.engines.numba.products import (
    Four,
    FourVectors,
    Strides,
    eight_offsets,
    multiply_eight_rows,
    row_sums_16,
    row_sums_32,
    row_sums_64,
    two_window_sums,
)


@kernel
def convolution_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    """Compute a convolution's activations of one image, with the pooling behind it if there is one."""
    if not layer.is_pooled:
        _unpooled_forward(layer, parameters, buffers, image)
    # Eight sums need the registers of AVX-512.
    elif layer.padded_units == LANES and HAS_AVX512:
        _narrow_pooled_forward(layer, parameters, buffers, image)
    else:
        _pooled_forward(layer, parameters, buffers, image)


@kernel
def _pooled_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    """Convolve with any number of filters and pool, a window at a time."""
    channels, units = layer.channels, layer.padded_units
    row_stride = layer.columns * channels
    strides = (layer.filter_rows, row_stride, layer.filter_columns * channels, 1)
    output = layer.output + image * layer.output_size
    for row in range(layer.output_rows):
        start = layer.input + image * layer.input_size + 2 * row * row_stride
        for _ in range(layer.output_columns):
            starts = (start, start + channels, start + row_stride, start + row_stride + channels)
            unit = 0
            while units - unit >= 64 and HAS_AVX512:
                _pool(layer, _window_sums_64(layer, parameters, buffers, starts, strides, unit), buffers, output + unit)
                unit += 64
            while units - unit >= 32 and HAS_AVX512:
                _pool(layer, _window_sums_32(layer, parameters, buffers, starts, strides, unit), buffers, output + unit)
                unit += 32
            while unit < units:
                _pool(layer, _window_sums_16(layer, parameters, buffers, starts, strides, unit), buffers, output + unit)
                unit += 16
            start += 2 * channels
            output += units


def _window_sums_of(row_sums: Callable[..., FourVectors]) -> Callable[..., FourVectors]:
    """Make the kernel that convolves a window's four positions with as many filters as ``row_sums`` has columns."""

    @inlined
    def window_sums(
        layer: np.record, parameters: Parameters, buffers: Buffers, starts: Four, strides: Strides, unit: int
    ) -> FourVectors:
        return row_sums(
            buffers.activations,
            starts,
            strides,
            parameters.transposed,
            layer.transposed + unit,
            layer.padded_units,
            parameters.weights,
            layer.biases + unit,
        )

    return window_sums


_window_sums_64 = _window_sums_of(row_sums_64)
_window_sums_32 = _window_sums_of(row_sums_32)
_window_sums_16 = _window_sums_of(row_sums_16)


@kernel
def _narrow_pooled_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    """Convolve with up to 16 filters and pool, two windows at a time; a single last window is computed twice."""
    channels, columns = layer.channels, layer.output_columns
    row_stride = layer.columns * channels
    offsets = buffers.filter_offsets[layer.filter_offsets :][: layer.fan_in]
    for row in range(layer.output_rows):
        start = layer.input + image * layer.input_size + 2 * row * row_stride
        output = layer.output + image * layer.output_size + row * columns * LANES
        for column in range(0, columns, 2):
            to_second = min(column + 1, columns - 1) - column
            sums, next_sums = two_window_sums(
                buffers.activations,
                start + 2 * channels * column,
                (2 * channels * to_second, row_stride, channels),
                offsets,
                parameters.transposed,
                layer.transposed,
                parameters.weights,
                layer.biases,
            )
            _pool(layer, sums, buffers, output + LANES * column)
            _pool(layer, next_sums, buffers, output + LANES * (column + to_second))


@inlined
def _pool(layer: np.record, window: FourVectors, buffers: Buffers, output: int) -> None:
    """Write the maximum of each window, rectified, and the mask of the values that equal it."""
    maxima = maximum_of_four(window)
    store_equality_mask(buffers.masks, output, maxima, window)
    if layer.is_rectified:
        store(buffers.slopes, output, rectifier_slopes(maxima))
        maxima = rectified(maxima)
    store(buffers.activations, output, maxima)


@kernel
def _unpooled_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    """Convolve, eight positions of a row at a time, and rectify."""
    row_stride = layer.columns * layer.channels
    strides = (layer.filter_rows, row_stride, layer.filter_columns * layer.channels, 1)
    columns, units = layer.output_columns, layer.padded_units
    start, output = layer.input + image * layer.input_size, layer.output + image * layer.output_size
    for row in range(layer.output_rows):
        for column in range(0, columns, 8):
            multiply_eight_rows(
                buffers.activations,
                eight_offsets(start + row * row_stride, layer.channels, column, columns),
                strides,
                parameters.transposed,
                layer.transposed,
                units,
                parameters.weights,
                layer.biases,
                buffers.activations,
                eight_offsets(output + row * columns * units, units, column, columns),
            )
    rectify(layer, buffers, image, image + 1)
