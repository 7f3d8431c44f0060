"""Convolution, with or without 2x2 maximum pooling after it, of one image at a time.

The pooling window is taken before the rectifier, which changes neither a value nor a gradient: the
rectifier keeps the order of values; where the maximum is above 0 it keeps the ties too; where the
maximum is exactly 0, only those at exactly 0 have a slope, one half; below 0 none has.

Taps are the weights of one filter, ``(filter rows, filter columns, channels)``. Those of one filter row
lie side by side, and so do the values of the image that they meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.kernels.activations import follow_slopes, rectify
from pipeline.kernels.compiler import inlined, kernel
from pipeline.kernels.plan import Buffers, ByteArray, IntArray, Parameters
from pipeline.kernels.products import four_rows
from pipeline.kernels.vectors import WIDEST, load, multiply_add, store
from pipeline.weights import FloatArray

LOWEST_BIT = np.array([0] + [(winners & -winners).bit_length() - 1 for winners in range(1, 16)])
"""Number of the first winner in each set of winners."""

IS_TIE = np.array([winners.bit_count() > 1 for winners in range(16)])
"""Whether each set of winners has more than one."""


@kernel
def convolution_forward(
    layer: np.record, parameters: Parameters, buffers: Buffers, image: int, sums: FloatArray
) -> None:
    """Compute a convolution's activations of one image, pooled where pooling follows.

    Parameters
    ----------
    sums : float32 array, shape (4, output columns * width)
        Room for the four values of each pooling window of a row.
    """
    if layer.is_pooled:
        _pooled_forward(layer, parameters, buffers, image, sums)
    else:
        _unpooled_forward(layer, parameters, buffers, image)
    if layer.is_rectified:
        start = layer.output + image * layer.output_size
        end = start + layer.output_size
        rectify(buffers.activations[start:end], buffers.slopes[start:end])


@kernel
def _pooled_forward(
    layer: np.record, parameters: Parameters, buffers: Buffers, image: int, sums: FloatArray
) -> None:
    line = layer.columns * layer.channels
    walk = (layer.filter_rows, line, layer.filter_columns * layer.channels, 1)
    row_size = layer.output_columns * layer.width
    flat_sums = sums.reshape(-1)
    for row in range(layer.output_rows):
        for column in range(layer.output_columns):
            start = layer.input + image * layer.input_size + 2 * row * line + 2 * column * layer.channels
            place = column * layer.width
            four_rows(
                buffers.activations,
                (start, start + layer.channels, start + line, start + line + layer.channels),
                walk,
                parameters.transposed,
                layer.transposed,
                layer.width,
                parameters.weights,
                layer.biases,
                flat_sums,
                (place, place + row_size, place + 2 * row_size, place + 3 * row_size),
            )
        start = layer.output + image * layer.output_size + row * row_size
        _pool(
            flat_sums[:row_size],
            flat_sums[row_size : 2 * row_size],
            flat_sums[2 * row_size : 3 * row_size],
            flat_sums[3 * row_size : 4 * row_size],
            buffers.activations[start : start + row_size],
            buffers.winners[start : start + row_size],
        )


@kernel
def _pool(
    top_left: FloatArray,
    top_right: FloatArray,
    bottom_left: FloatArray,
    bottom_right: FloatArray,
    maxima: FloatArray,
    winners: ByteArray,
) -> None:
    """Take the maximum of each window and note which of its four values equal it, one bit for each."""
    for place in range(len(maxima)):
        maximum = max(max(top_left[place], top_right[place]), max(bottom_left[place], bottom_right[place]))
        maxima[place] = maximum
        winners[place] = (
            np.uint8(top_left[place] == maximum)
            | np.uint8(top_right[place] == maximum) << 1
            | np.uint8(bottom_left[place] == maximum) << 2
            | np.uint8(bottom_right[place] == maximum) << 3
        )


@kernel
def _unpooled_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int) -> None:
    line = layer.columns * layer.channels
    walk = (layer.filter_rows, line, layer.filter_columns * layer.channels, 1)
    last = layer.output_columns - 1
    for row in range(layer.output_rows):
        start = layer.input + image * layer.input_size + row * line
        place = layer.output + image * layer.output_size + row * layer.output_columns * layer.width
        for column in range(0, layer.output_columns, 4):
            second, third, fourth = min(column + 1, last), min(column + 2, last), min(column + 3, last)
            four_rows(
                buffers.activations,
                (
                    start + column * layer.channels,
                    start + second * layer.channels,
                    start + third * layer.channels,
                    start + fourth * layer.channels,
                ),
                walk,
                parameters.transposed,
                layer.transposed,
                layer.width,
                parameters.weights,
                layer.biases,
                buffers.activations,
                (
                    place + column * layer.width,
                    place + second * layer.width,
                    place + third * layer.width,
                    place + fourth * layer.width,
                ),
            )


@kernel
def first_convolution_backward(
    layer: np.record, buffers: Buffers, image: int, gradients: FloatArray, spread: FloatArray, zeros: FloatArray
) -> None:
    """Add one image's part to the gradient of the first layer, which nobody asks for signals at its input.

    Parameters
    ----------
    gradients : float32 array, shape ((taps + 1) * units,)
        Of the weights, ``(units, taps)``, and of the biases.
    spread : float32 array
        Room for a signal at each place of the convolution before pooling.
    """
    _follow_rectifier(layer, buffers, image)
    start = layer.output + image * layer.output_size
    outputs = buffers.signals[start : start + layer.output_size]
    winners = buffers.winners[start : start + layer.output_size]
    rows = layer.rows - layer.filter_rows + 1
    columns = layer.columns - layer.filter_columns + 1
    signals = spread[: rows * columns * layer.width]
    if layer.is_pooled:
        _unpool(layer, outputs, winners, columns, signals)
    else:
        signals[:] = outputs
    tap_line = layer.filter_columns * layer.channels
    taps = layer.filter_rows * tap_line
    line = layer.columns * layer.channels
    image_start = layer.input + image * layer.input_size
    sums = np.empty(4 * layer.width, np.float32)
    for tap in range(0, taps, 4):
        second, third, fourth = min(tap + 1, taps - 1), min(tap + 2, taps - 1), min(tap + 3, taps - 1)
        four_rows(
            buffers.activations,
            (
                image_start + tap // tap_line * line + tap % tap_line,
                image_start + second // tap_line * line + second % tap_line,
                image_start + third // tap_line * line + third % tap_line,
                image_start + fourth // tap_line * line + fourth % tap_line,
            ),
            (rows, line, columns, layer.channels),
            spread,
            0,
            layer.width,
            zeros,
            0,
            sums,
            (0, layer.width, 2 * layer.width, 3 * layer.width),
        )
        for number in range(min(4, taps - tap)):
            for unit in range(layer.units):
                gradients[unit * taps + tap + number] += sums[number * layer.width + unit]
    bias_sums = np.zeros(layer.width, np.float32)
    for place in range(rows * columns):
        for unit in range(layer.width):
            bias_sums[unit] += signals[place * layer.width + unit]
    for unit in range(layer.units):
        gradients[layer.units * taps + unit] += bias_sums[unit]


@kernel
def _unpool(
    layer: np.record, outputs: FloatArray, winners: ByteArray, columns: int, signals: FloatArray
) -> None:
    """Give each pooling window's signal to all its winners; the dropped border keeps its zeros."""
    width = layer.width
    for row in range(layer.output_rows):
        for column in range(layer.output_columns):
            start = (row * layer.output_columns + column) * width
            window = outputs[start : start + width]
            window_winners = winners[start : start + width]
            for position in range(4):
                place = ((2 * row + position // 2) * columns + 2 * column + position % 2) * width
                target = signals[place : place + width]
                for unit in range(width):
                    target[unit] = window[unit] * np.float32(window_winners[unit] >> position & 1)


@kernel
def convolution_backward(
    layer: np.record,
    parameters: Parameters,
    buffers: Buffers,
    image: int,
    gradients: FloatArray,
    hit_places: IntArray,
    hit_signals: FloatArray,
) -> None:
    """Add one image's part to the gradient of a layer, and compute the signals at its input.

    Only winners of a pooling window have a signal, one place in four or fewer: each filter visits those.

    Parameters
    ----------
    gradients : float32 array, shape ((taps + 1) * units,)
        Of the weights, ``(units, taps)``, and of the biases.
    hit_places, hit_signals : arrays
        Room for as many entries as a filter has places before pooling.
    """
    _follow_rectifier(layer, buffers, image)
    start = layer.input + image * layer.input_size
    buffers.signals[start : start + layer.input_size] = 0
    tap_line = layer.filter_columns * layer.channels
    taps = layer.filter_rows * tap_line
    line = layer.columns * layer.channels
    for unit in range(layer.units):
        hits = _find_hits(layer, buffers, image, unit, hit_places, hit_signals)
        bias_sum = np.float32(0)
        for hit in range(hits):
            bias_sum += hit_signals[hit]
        gradients[layer.units * taps + unit] += bias_sum
        for row in range(layer.filter_rows):
            tap = unit * taps + row * tap_line
            shift = row * line
            left = tap_line
            while left >= 64 and WIDEST >= 64:
                _follow_hits_64(
                    hits, hit_places, hit_signals, shift, buffers, parameters.weights, layer.weights, gradients, tap
                )
                left, tap, shift = left - 64, tap + 64, shift + 64
            while left >= 32 and WIDEST >= 32:
                _follow_hits_32(
                    hits, hit_places, hit_signals, shift, buffers, parameters.weights, layer.weights, gradients, tap
                )
                left, tap, shift = left - 32, tap + 32, shift + 32
            while left > 0:
                _follow_hits_16(
                    hits, hit_places, hit_signals, shift, buffers, parameters.weights, layer.weights, gradients, tap
                )
                left, tap, shift = left - 16, tap + 16, shift + 16


@kernel
def _find_hits(
    layer: np.record, buffers: Buffers, image: int, unit: int, hit_places: IntArray, hit_signals: FloatArray
) -> int:
    """List where one filter's signals are not zero: where each one's taps begin in the image, and the signal."""
    signals, winners = buffers.signals, buffers.winners
    line = layer.columns * layer.channels
    step = 2 if layer.is_pooled else 1
    shifts = (0, layer.channels, line, line + layer.channels)
    place = layer.output + image * layer.output_size + unit
    hits = 0
    for row in range(layer.output_rows):
        start = layer.input + image * layer.input_size + step * row * line
        for _ in range(layer.output_columns):
            signal = signals[place]
            who = winners[place] if layer.is_pooled else np.uint8(1)
            # Written always, counted only where it is not zero: a branch here would be guessed wrong half the time.
            hit_places[hits] = start + shifts[LOWEST_BIT[who]]
            hit_signals[hits] = signal
            hits += signal != 0
            if IS_TIE[who] and signal != 0:
                for position in range(LOWEST_BIT[who] + 1, 4):
                    if who >> position & 1:
                        hit_places[hits] = start + shifts[position]
                        hit_signals[hits] = signal
                        hits += 1
            start += step * layer.channels
            place += layer.width
    return hits


def _follow_hits_of(width: int) -> Callable[..., None]:
    """Make the kernel for ``width`` taps of one filter row."""

    @inlined
    def follow_hits(
        hits: int,
        hit_places: IntArray,
        hit_signals: FloatArray,
        shift: int,
        buffers: Buffers,
        weights: FloatArray,
        weights_start: int,
        gradients: FloatArray,
        tap: int,
    ) -> None:
        tap_weights = load(weights, weights_start + tap, width)
        gradient: Any = load(gradients, tap, width)
        for hit in range(hits):
            place = hit_places[hit] + shift
            gradient = multiply_add(hit_signals, hit, load(buffers.activations, place, width), gradient)
            signal = multiply_add(hit_signals, hit, tap_weights, load(buffers.signals, place, width))
            store(buffers.signals, place, signal)
        store(gradients, tap, gradient)

    return follow_hits


_follow_hits_64 = _follow_hits_of(64)
_follow_hits_32 = _follow_hits_of(32)
_follow_hits_16 = _follow_hits_of(16)


@kernel
def _follow_rectifier(layer: np.record, buffers: Buffers, image: int) -> None:
    if layer.is_rectified:
        start = layer.output + image * layer.output_size
        end = start + layer.output_size
        follow_slopes(buffers.signals[start:end], buffers.slopes[start:end])
