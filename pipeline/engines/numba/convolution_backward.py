"""The backward pass of a convolution, of one image at a time: its gradients, and the signals at what came in."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.engines.numba.activations import follow_slopes
from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.nonzero import (
    Hits,
    Taps,
    find_hits,
    follow_hits,
    follow_hits_with_four_16,
    follow_hits_with_four_32,
)
from pipeline.engines.numba.plan import Buffers, Parameters
from pipeline.engines.numba.vectors import (
    HAS_AVX512,
    LANES,
    add,
    add_numbers_times_vector,
    from_each,
    load,
    load_each,
    store,
    store_each,
    where_bit,
)
from pipeline.networks import arrays
from pipeline.networks.arrays import FloatArray

Nine = tuple[int, int, int, int, int, int, int, int, int]

TAPS_AT_ONCE = 9
"""For so many taps of 16 filters the sums stay in registers. The first layer's filters often have no more."""


@kernel
def first_convolution_backward(layer: np.record, buffers: Buffers, image: int, sums: FloatArray) -> None:
    """Add one image's part to the gradient of the first layer, at whose input nobody needs signals.

    A filter of few taps gains little from a visit to its hits alone. So all filters go over all places, and
    take a window's signal for zero where its winner is in another position.

    Parameters
    ----------
    sums : float32 array, shape (rows, width), flat, as `room_for_first_gradients` returns it
        The gradient: a row for the biases, one for each tap, and up to eight without meaning.
    """
    _follow_rectifier(layer, buffers, image)
    taps = layer.filter_rows * layer.filter_columns * layer.channels
    for tap in range(0, taps, TAPS_AT_ONCE):
        for unit in range(0, layer.width, LANES):
            _nine_taps_backward(layer, buffers, image, tap, unit, sums)


@inlined
def _nine_taps_backward(layer: np.record, buffers: Buffers, image: int, tap: int, unit: int, sums: FloatArray) -> None:
    """Add an image's part to the gradient of nine taps of 16 filters; where fewer are left, the last one fills in."""
    channels, width = layer.channels, layer.width
    line = layer.columns * channels
    shifts = _nine_tap_places(layer, buffers, tap)
    rows = _nine_rows((1 + tap) * width + unit, width)
    sums_of_taps = load_each(sums, rows, LANES)
    sum_of_biases: Any = load(sums, unit, LANES)
    extent = 2 if layer.is_pooled else 1
    for position in range(extent * extent):
        signals_place = layer.output + image * layer.output_size + unit
        for row in range(layer.output_rows):
            place = layer.input + image * layer.input_size
            place += (extent * row + position // 2) * line + position % 2 * channels
            for _ in range(layer.output_columns):
                signals = load(buffers.signals, signals_place, LANES)
                signals = where_bit(buffers.winners, signals_place, 1 << position, signals)
                sums_of_taps = add_numbers_times_vector(
                    buffers.activations, from_each(shifts, place), signals, sums_of_taps
                )
                sum_of_biases = add(sum_of_biases, signals)
                signals_place += width
                place += extent * channels
    store_each(sums, rows, sums_of_taps)
    if tap == 0:
        store(sums, unit, sum_of_biases)


@inlined
def _nine_tap_places(layer: np.record, buffers: Buffers, tap: int) -> Nine:
    places, last = buffers.tap_places[layer.tap_places :], layer.filter_rows * layer.filter_columns * layer.channels - 1
    return (
        places[tap],
        places[min(tap + 1, last)],
        places[min(tap + 2, last)],
        places[min(tap + 3, last)],
        places[min(tap + 4, last)],
        places[min(tap + 5, last)],
        places[min(tap + 6, last)],
        places[min(tap + 7, last)],
        places[min(tap + 8, last)],
    )


@inlined
def _nine_rows(first: int, width: int) -> Nine:
    return (
        first,
        first + width,
        first + 2 * width,
        first + 3 * width,
        first + 4 * width,
        first + 5 * width,
        first + 6 * width,
        first + 7 * width,
        first + 8 * width,
    )


def room_for_first_gradients(layer: np.void) -> FloatArray:
    """Return room for what `first_convolution_backward` adds to; none where the first layer is dense."""
    if layer["is_dense"]:
        return arrays.zeros((0,), np.float32)
    taps = int(layer["filter_rows"] * layer["filter_columns"] * layer["channels"])
    rows = 1 + -(-taps // TAPS_AT_ONCE) * TAPS_AT_ONCE
    return arrays.zeros((rows * int(layer["width"]),), np.float32)


@kernel
def put_first_gradients(layer: np.record, sums: FloatArray, gradients: FloatArray) -> None:
    """Set a part's ``gradients``, ``(units, taps)`` and biases, from the sums over its images."""
    width = layer.width
    taps = layer.filter_rows * layer.filter_columns * layer.channels
    for unit in range(layer.units):
        for tap in range(taps):
            gradients[unit * taps + tap] = sums[(1 + tap) * width + unit]
        gradients[layer.units * taps + unit] = sums[unit]


@kernel
def convolution_backward(
    layer: np.record, parameters: Parameters, buffers: Buffers, image: int, gradients: FloatArray, hits: Hits
) -> None:
    """Add one image's part to the gradient of a layer, and compute the signals at its input.

    Parameters
    ----------
    gradients : float32 array, shape (taps * units + width,) or more
        Of the weights, ``(units, taps)``, and of the biases.
    hits : room for them, as `room_for_hits` returns it
    """
    _follow_rectifier(layer, buffers, image)
    start = layer.input + image * layer.input_size
    buffers.signals[start : start + layer.input_size] = 0
    tap_line = layer.filter_columns * layer.channels
    taps = layer.filter_rows * tap_line
    find_hits(layer, buffers, image, hits, gradients[layer.units * taps :])
    for unit in range(layer.units):
        tap = 0
        while taps - tap >= 128 and tap_line % 32 == 0 and HAS_AVX512:
            follow_hits_with_four_32(hits, unit, _taps_of(layer, unit, taps, tap), parameters, buffers, gradients)
            tap += 128
        while taps - tap >= 64 and HAS_AVX512:
            follow_hits_with_four_16(hits, unit, _taps_of(layer, unit, taps, tap), parameters, buffers, gradients)
            tap += 64
        while tap < taps:
            follow_hits(hits, unit, _taps_of(layer, unit, taps, tap), parameters, buffers, gradients)
            tap += LANES


@inlined
def _taps_of(layer: np.record, unit: int, taps: int, tap: int) -> Taps:
    number = unit * taps + tap
    return Taps(layer.tap_places + tap, layer.weights + number, number)


@kernel
def _follow_rectifier(layer: np.record, buffers: Buffers, image: int) -> None:
    if layer.is_rectified:
        start = layer.output + image * layer.output_size
        end = start + layer.output_size
        follow_slopes(buffers.signals[start:end], buffers.slopes[start:end])
