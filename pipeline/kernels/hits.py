"""The places where a filter's signals are not zero, and the way back from them through its taps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pipeline.kernels.compiler import inlined, kernel
from pipeline.kernels.plan import Buffers, ByteArray, IntArray, Parameters
from pipeline.kernels.products import add_column_sums
from pipeline.kernels.vectors import (
    LANES,
    element,
    from_each,
    load,
    load_each,
    multiply_add,
    put,
    scale_add_each,
    store,
    store_each,
)
from pipeline.weights import FloatArray


class Taps(NamedTuple):
    """Where consecutive taps of a filter lie."""

    places: int
    """In `Buffers.tap_places`."""
    weights: int
    """In `Parameters.weights`."""
    gradients: int
    """In a part's gradient of the layer."""


class Hits(NamedTuple):
    """Where the signals of each filter are not zero in one image, a list for each filter.

    Only winners of a pooling window have a signal, one place in four or fewer: each filter visits those.
    """

    places: IntArray
    """Where the taps of each hit begin, among the activations; shape (filters * room,)."""
    signals: FloatArray
    """The signal of each hit, likewise."""
    starts: IntArray
    """Where the list of each filter begins."""
    ends: IntArray
    """Where it ends."""


@kernel
def room_for_hits(layer: np.record) -> int:
    """Return how many hits a filter has at most, and one that is written but not counted."""
    rows, columns = layer.rows - layer.filter_rows + 1, layer.columns - layer.filter_columns + 1
    return int(rows * columns + 1)


@kernel
def find_hits(layer: np.record, buffers: Buffers, image: int, hits: Hits, bias_gradients: FloatArray) -> None:
    """List each filter's hits, and add their signals to the gradient of the biases."""
    room = room_for_hits(layer)
    for unit in range(layer.width):
        hits.starts[unit] = hits.ends[unit] = unit * room
    extent = 2 if layer.is_pooled else 1
    line = layer.columns * layer.channels
    shifts = _shifts_of_first_winner(layer.channels, line)
    start = layer.output + image * layer.output_size
    place = start
    for row in range(layer.output_rows):
        window = layer.input + image * layer.input_size + extent * row * line
        for _ in range(layer.output_columns):
            for unit in range(layer.width):
                end, signal = element(hits.ends, unit), element(buffers.signals, place)
                # Written always, counted only where it is not zero: a branch would be guessed wrong half the time.
                put(hits.places, end, window + element(shifts, element(buffers.winners, place)))
                put(hits.signals, end, signal)
                put(hits.ends, unit, end + (signal != 0))
                place += 1
            window += extent * layer.channels
    windows = layer.output_rows * layer.output_columns
    add_column_sums(buffers.signals, start, windows, layer.width, bias_gradients, 0)
    if _has_ties(buffers.winners[start : start + layer.output_size]):
        _add_ties(layer, buffers, image, hits, bias_gradients)


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
def _has_ties(winners: ByteArray) -> bool:
    """Whether more than one value equals the maximum in one of the windows."""
    later_winners = np.uint8(0)
    for one in winners:
        later_winners |= one & np.uint8(one - np.uint8(1))
    return bool(later_winners)


@kernel
def _add_ties(layer: np.record, buffers: Buffers, image: int, hits: Hits, bias_gradients: FloatArray) -> None:
    """List the winners of each window after the first one, where there is a signal."""
    for number in range(layer.output_size):
        window, unit = number // layer.width, number % layer.width
        place = layer.output + image * layer.output_size + number
        signal, winners = buffers.signals[place], buffers.winners[place]
        later_winners = winners & (winners - 1)
        if signal != 0 and later_winners:
            row, column = window // layer.output_columns, window % layer.output_columns
            for position in range(1, 4):
                if later_winners >> position & 1:
                    pixel = (2 * row + position // 2) * layer.columns + 2 * column + position % 2
                    hits.places[hits.ends[unit]] = layer.input + image * layer.input_size + pixel * layer.channels
                    hits.signals[hits.ends[unit]] = signal
                    hits.ends[unit] += 1
                    bias_gradients[unit] += signal


@inlined
def follow_hits(
    hits: Hits, unit: int, taps: Taps, parameters: Parameters, buffers: Buffers, gradients: FloatArray
) -> None:
    """Follow a filter's hits with 16 of its taps: add to their gradient, and to the signals at what they met."""
    shift = element(buffers.tap_places, taps.places)
    tap_weights = load(parameters.weights, taps.weights, LANES)
    gradient: Any = load(gradients, taps.gradients, LANES)
    for hit in range(element(hits.starts, unit), element(hits.ends, unit)):
        place = element(hits.places, hit) + shift
        gradient = multiply_add(hits.signals, hit, load(buffers.activations, place, LANES), gradient)
        store(buffers.signals, place, multiply_add(hits.signals, hit, tap_weights, load(buffers.signals, place, LANES)))
    store(gradients, taps.gradients, gradient)


def _follow_hits_with_four_of(width: int) -> Callable[..., None]:
    """Make the kernel that does the same as `follow_hits` with four vectors of ``width`` taps."""

    @inlined
    def follow_hits_with_four(
        hits: Hits, unit: int, taps: Taps, parameters: Parameters, buffers: Buffers, gradients: FloatArray
    ) -> None:
        shifts = (
            element(buffers.tap_places, taps.places),
            element(buffers.tap_places, taps.places + width),
            element(buffers.tap_places, taps.places + 2 * width),
            element(buffers.tap_places, taps.places + 3 * width),
        )
        rows = (0, width, 2 * width, 3 * width)
        tap_weights = load_each(parameters.weights, from_each(rows, taps.weights), width)
        gradient = load_each(gradients, from_each(rows, taps.gradients), width)
        for hit in range(element(hits.starts, unit), element(hits.ends, unit)):
            places = from_each(shifts, element(hits.places, hit))
            gradient = scale_add_each(hits.signals, hit, load_each(buffers.activations, places, width), gradient)
            signals = load_each(buffers.signals, places, width)
            store_each(buffers.signals, places, scale_add_each(hits.signals, hit, tap_weights, signals))
        store_each(gradients, from_each(rows, taps.gradients), gradient)

    return follow_hits_with_four


follow_hits_with_four_32 = _follow_hits_with_four_of(32)
follow_hits_with_four_16 = _follow_hits_with_four_of(16)
