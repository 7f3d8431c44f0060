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
from pipeline.kernels.products import add_column_sums, four_rows, four_rows_inlined, two_windows
from pipeline.kernels.vectors import LANES, WIDEST, load, multiply_add, store
from pipeline.weights import FloatArray


@kernel
def convolution_forward(
    layer: np.record, parameters: Parameters, buffers: Buffers, image: int, sums: FloatArray
) -> None:
    """Compute a convolution's activations of one image, pooled where pooling follows.

    Parameters
    ----------
    sums : float32 array, shape (4 * output columns * width,)
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
def _pooled_forward(layer: np.record, parameters: Parameters, buffers: Buffers, image: int, sums: FloatArray) -> None:
    row_size = layer.output_columns * layer.width
    for row in range(layer.output_rows):
        start = layer.input + image * layer.input_size + 2 * row * layer.columns * layer.channels
        # Eight sums need more registers than processors without AVX-512 have.
        if layer.width == LANES and WIDEST > LANES:
            _row_of_narrow_windows(layer, parameters, buffers, start, sums)
        else:
            _row_of_windows(layer, parameters, buffers, start, sums)
        start = layer.output + image * layer.output_size + row * row_size
        _pool(
            sums[:row_size],
            sums[row_size : 2 * row_size],
            sums[2 * row_size : 3 * row_size],
            sums[3 * row_size : 4 * row_size],
            buffers.activations[start : start + row_size],
            buffers.winners[start : start + row_size],
        )


@kernel
def _row_of_windows(layer: np.record, parameters: Parameters, buffers: Buffers, start: int, sums: FloatArray) -> None:
    """Convolve at each place of a row of pooling windows, which begins at ``start``."""
    channels, width = layer.channels, layer.width
    line = layer.columns * channels
    walk = (layer.filter_rows, line, layer.filter_columns * channels, 1)
    row_size = layer.output_columns * width
    for place in range(0, row_size, width):
        four_rows_inlined(
            buffers.activations,
            (start, start + channels, start + line, start + line + channels),
            walk,
            parameters.transposed,
            layer.transposed,
            width,
            parameters.weights,
            (layer.biases, layer.biases, layer.biases, layer.biases),
            sums,
            (place, place + row_size, place + 2 * row_size, place + 3 * row_size),
        )
        start += 2 * channels


@kernel
def _row_of_narrow_windows(
    layer: np.record, parameters: Parameters, buffers: Buffers, start: int, sums: FloatArray
) -> None:
    """Do the same for a layer of up to 16 filters, two windows at a time; a last one by itself is done twice."""
    channels, columns = layer.channels, layer.output_columns
    line = layer.columns * channels
    row_size = columns * LANES
    places = buffers.tap_places[layer.tap_places :][: layer.filter_rows * layer.filter_columns * channels]
    for column in range(0, columns, 2):
        to_second = min(column + 1, columns - 1) - column
        two_windows(
            buffers.activations,
            start + 2 * channels * column,
            (2 * channels * to_second, line, channels),
            places,
            parameters.transposed,
            layer.transposed,
            parameters.weights,
            layer.biases,
            sums,
            column * LANES,
            (LANES * to_second, 2 * row_size, row_size),
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
        maximum = max(top_left[place], top_right[place], bottom_left[place], bottom_right[place])
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
                (layer.biases, layer.biases, layer.biases, layer.biases),
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
    layer: np.record, buffers: Buffers, image: int, sums: FloatArray, spread: FloatArray
) -> None:
    """Add one image's part to the gradient of the first layer, which nobody asks for signals at its input.

    Parameters
    ----------
    sums : float32 array, shape (at least taps + 4, width), flat
        The gradient: a row for each tap, up to three rows without meaning, and in the last row the biases.
    spread : float32 array, shape (output size,)
        Room for the signals of each window's value in one of its four positions.
    """
    _follow_rectifier(layer, buffers, image)
    start = layer.output + image * layer.output_size
    signals = buffers.signals[start : start + layer.output_size]
    winners = buffers.winners[start : start + layer.output_size]
    channels, width = layer.channels, layer.width
    line = layer.columns * channels
    tap_line = layer.filter_columns * channels
    taps = layer.filter_rows * tap_line
    positions, step = (4, 2) if layer.is_pooled else (1, 1)
    walk = (layer.output_rows, step * line, layer.output_columns, step * channels)
    for position in range(positions):
        _spread(signals, winners, 1 << position, spread)
        start = layer.input + image * layer.input_size + position // 2 * line + position % 2 * channels
        for tap in range(0, taps, 4):
            second, third, fourth = min(tap + 1, taps - 1), min(tap + 2, taps - 1), min(tap + 3, taps - 1)
            rows = (tap * width, (tap + 1) * width, (tap + 2) * width, (tap + 3) * width)
            four_rows_inlined(
                buffers.activations,
                (
                    start + tap // tap_line * line + tap % tap_line,
                    start + second // tap_line * line + second % tap_line,
                    start + third // tap_line * line + third % tap_line,
                    start + fourth // tap_line * line + fourth % tap_line,
                ),
                walk,
                spread,
                0,
                width,
                sums,
                rows,
                sums,
                rows,
            )
        add_column_sums(spread, 0, layer.output_rows * layer.output_columns, width, sums, len(sums) - width)


@kernel
def _spread(signals: FloatArray, winners: ByteArray, bit: int, spread: FloatArray) -> None:
    """Set ``spread`` to the signals where the bit of a position is set among the winners, to zero elsewhere."""
    for place in range(len(spread)):
        spread[place] = signals[place] if winners[place] & bit else np.float32(0)


@kernel
def put_first_gradients(layer: np.record, sums: FloatArray, gradients: FloatArray) -> None:
    """Set a part's ``gradients``, ``(units, taps)`` and biases, from the sums over its images."""
    width = layer.width
    taps = layer.filter_rows * layer.filter_columns * layer.channels
    for unit in range(layer.units):
        for tap in range(taps):
            gradients[unit * taps + tap] = sums[tap * width + unit]
        gradients[layer.units * taps + unit] = sums[len(sums) - width + unit]


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
    bias_gradients = gradients[layer.units * taps :]
    shifts = _shifts_of_first_winner(layer.channels, line)
    for unit in range(layer.units):
        hits = _find_hits(layer, buffers, image, unit, shifts, hit_places, hit_signals, bias_gradients)
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


@inlined
def _find_hits(
    layer: np.record,
    buffers: Buffers,
    image: int,
    unit: int,
    shifts: IntArray,
    hit_places: IntArray,
    hit_signals: FloatArray,
    bias_gradients: FloatArray,
) -> int:
    """List where one filter's signals are not zero: where each one's taps begin in the image, and the signal.

    Inlined, as to hand over the buffers in a call takes as long as to look through a small image.
    """
    channels, width, columns = layer.channels, layer.width, layer.output_columns
    line = layer.columns * channels
    step = 2 * channels if layer.is_pooled else channels
    next_row = (2 * line if layer.is_pooled else line) - columns * step
    image_place = layer.input + image * layer.input_size
    start = layer.output + image * layer.output_size
    signals = buffers.signals[start : start + layer.output_size]
    winners = buffers.winners[start : start + layer.output_size]
    hits = 0
    bias_gradient = np.float32(0)
    place = unit
    for _ in range(layer.output_rows):
        for _ in range(columns):
            signal, who = signals[place], winners[place]
            # Written always, counted only where it is not zero: a branch here would be guessed wrong half the time.
            hit_places[hits] = image_place + shifts[who]
            hit_signals[hits] = signal
            hits += signal != 0
            bias_gradient += signal
            if who & (who - 1):
                before = hits
                hits = _add_ties(who, image_place, channels, line, signal, hits, hit_places, hit_signals)
                bias_gradient += np.float32(hits - before) * signal
            image_place += step
            place += width
        image_place += next_row
    bias_gradients[unit] += bias_gradient
    return hits


@kernel
def _shifts_of_first_winner(channels: int, line: int) -> IntArray:
    """Return, for each set of winners, how far into the window the first one lies."""
    shifts = np.zeros(16, np.int64)
    for winners in range(1, 16):
        position = 0
        while not winners >> position & 1:
            position += 1
        shifts[winners] = position // 2 * line + position % 2 * channels
    return shifts


@kernel
def _add_ties(
    winners: int,
    image_place: int,
    channels: int,
    line: int,
    signal: np.float32,
    hits: int,
    hit_places: IntArray,
    hit_signals: FloatArray,
) -> int:
    """List the winners of a window after the first one, where there is a signal."""
    if signal == 0:
        return hits
    first = True
    for position in range(4):
        if winners >> position & 1:
            if not first:
                hit_places[hits] = image_place + position // 2 * line + position % 2 * channels
                hit_signals[hits] = signal
                hits += 1
            first = False
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
