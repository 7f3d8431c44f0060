"""The places where a filter's signals are not zero, and the backward pass from them through its taps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.plan import Buffers, Parameters, Plan
from pipeline.engines.numba.products import add_column_sums
from pipeline.engines.numba.vectors import (
    LANES,
    add_number_times_vectors,
    element,
    from_each,
    load,
    load_each,
    multiply_add,
    put,
    store,
    store_each,
)
from pipeline.networks.arrays import ByteArray, FloatArray, IntArray


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

    Of a pooling window only the winners have a signal, and none where the rectifier closed: each filter visits
    those places alone.
    """

    places: IntArray
    """Where the taps of each hit begin, among the activations; shape (filters, room)."""
    signals: FloatArray
    """The signal of each hit, likewise."""
    ends: IntArray
    """Where each filter's list ends, counted from the beginning of the first one."""


def room_for_hits(plan: Plan) -> Hits:
    """Return room for the hits of any convolution that `find_hits` is for: all but that of the first layer."""
    layers = [layer for layer in plan if not layer["is_dense"] and not layer["is_first"]]
    filters = max((int(layer["width"]) for layer in layers), default=0)
    # One more than there can be hits, since one is written before it is known whether it counts.
    room = 1 + max((_places(layer) for layer in layers), default=0)
    return Hits(np.zeros((filters, room), np.int64), np.zeros((filters, room), np.float32), np.zeros(filters, np.int64))


def _places(layer: np.void) -> int:
    """Return in how many places of an image a filter is taken."""
    return int((layer["rows"] - layer["filter_rows"] + 1) * (layer["columns"] - layer["filter_columns"] + 1))


@kernel
def find_hits(layer: np.record, buffers: Buffers, image: int, hits: Hits, bias_gradients: FloatArray) -> None:
    """List each filter's hits, and add their signals to the gradient of the biases."""
    for unit in range(layer.width):
        hits.ends[unit] = unit * hits.places.shape[1]
    extent = 2 if layer.is_pooled else 1
    line = layer.columns * layer.channels
    start = layer.output + image * layer.output_size
    place = start
    for row in range(layer.output_rows):
        window = layer.input + image * layer.input_size + extent * row * line
        for _ in range(layer.output_columns):
            for unit in range(layer.width):
                end, signal = element(hits.ends, unit), element(buffers.signals, place)
                winner = element(buffers.winner_places, layer.winner_places + element(buffers.winners, place))
                # Written always, counted only where it is not zero: a branch would often be guessed wrong.
                put(hits.places, end, window + winner)
                put(hits.signals, end, signal)
                put(hits.ends, unit, end + (signal != 0))
                place += 1
            window += extent * layer.channels
    windows = layer.output_rows * layer.output_columns
    add_column_sums(buffers.signals, start, windows, layer.width, bias_gradients, 0)
    if _has_ties(buffers.winners[start:place], buffers.signals[start:place]):
        _add_ties(layer, buffers, image, hits, bias_gradients)


@kernel
def _has_ties(winners: ByteArray, signals: FloatArray) -> bool:
    """Whether more than one value equals the maximum in one of the windows that have a signal."""
    later_winners = np.uint8(0)
    for place in range(len(winners)):
        one = winners[place]
        later = np.uint8(one & np.uint8(one - np.uint8(1))) if signals[place] != 0 else np.uint8(0)
        # Numba makes 64 bits of what two bytes give; as bytes again, a register holds eight times as many.
        later_winners = np.uint8(later_winners | later)
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
            pixel = 2 * row * layer.columns + 2 * column
            start = layer.input + image * layer.input_size + pixel * layer.channels
            for position in range(1, 4):
                if later_winners >> position & 1:
                    tied = buffers.winner_places[layer.winner_places + (1 << position)]
                    put(hits.places, hits.ends[unit], start + tied)
                    put(hits.signals, hits.ends[unit], signal)
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
    for hit in range(unit * hits.places.shape[1], element(hits.ends, unit)):
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
        for hit in range(unit * hits.places.shape[1], element(hits.ends, unit)):
            places = from_each(shifts, element(hits.places, hit))
            gradient = add_number_times_vectors(
                hits.signals, hit, load_each(buffers.activations, places, width), gradient
            )
            signals = load_each(buffers.signals, places, width)
            store_each(buffers.signals, places, add_number_times_vectors(hits.signals, hit, tap_weights, signals))
        store_each(gradients, from_each(rows, taps.gradients), gradient)

    return follow_hits_with_four


follow_hits_with_four_32 = _follow_hits_with_four_of(32)
follow_hits_with_four_16 = _follow_hits_with_four_of(16)
