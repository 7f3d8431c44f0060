"""The non-zero output gradients of a convolution, and the backward pass from them through the filters' weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.intrinsics import (
    LANES,
    load,
    load_each,
    load_scalar,
    multiply_add,
    multiply_add_vectors,
    shifted,
    store,
    store_each,
    store_scalar,
)
from pipeline.engines.numba.plan import Buffers, Parameters, Plan
from pipeline.engines.numba.products import add_column_sums
from pipeline.networks.arrays import ByteArray, FloatArray, IntArray


class FilterWeights(NamedTuple):
    """Offsets of consecutive weights of one filter."""

    inputs: int
    """In `Buffers.filter_offsets`."""
    weights: int
    """In `Parameters.weights`."""
    gradients: int
    """In the layer's part of a row of `Buffers.chunk_gradients`."""


class NonzeroGradients(NamedTuple):
    """The non-zero output gradients of a convolution in one image, a list for each filter.

    Only the maxima of a pooling window have a gradient, and none where the rectifier's slope is 0, so a filter's
    backward pass visits few positions.
    """

    inputs: IntArray
    """Offset of the input of the filter's first weight, shape (filters, longest list)."""
    values: FloatArray
    """The gradients, same shape."""
    ends: IntArray
    """Where each filter's list ends, counted from the beginning of the first list."""


def nonzero_gradients(plan: Plan) -> NonzeroGradients:
    """Return empty lists for any convolution behind the first layer."""
    layers = [layer for layer in plan if not layer["is_dense"] and not layer["is_first"]]
    filters = max((int(layer["padded_units"]) for layer in layers), default=0)
    # One more than there are positions, since `find_nonzero` writes an entry before it knows whether it counts.
    length = 1 + max((_positions(layer) for layer in layers), default=0)
    shape = (filters, length)
    return NonzeroGradients(np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(filters, np.int64))


def _positions(layer: np.void) -> int:
    """Return the number of positions of a filter in an image."""
    return int((layer["rows"] - layer["filter_rows"] + 1) * (layer["columns"] - layer["filter_columns"] + 1))


@kernel
def find_nonzero(
    layer: np.record, buffers: Buffers, image: int, nonzero: NonzeroGradients, bias_gradients: FloatArray
) -> None:
    """List each filter's non-zero output gradients, and add them to the gradients of the biases."""
    for unit in range(layer.padded_units):
        nonzero.ends[unit] = unit * nonzero.inputs.shape[1]
    pool_size = 2 if layer.is_pooled else 1
    row_stride = layer.columns * layer.channels
    start = layer.output + image * layer.output_size
    output = start
    for row in range(layer.output_rows):
        window = layer.input + image * layer.input_size + pool_size * row * row_stride
        for _ in range(layer.output_columns):
            for unit in range(layer.padded_units):
                end, gradient = load_scalar(nonzero.ends, unit), load_scalar(buffers.output_gradients, output)
                mask = load_scalar(buffers.masks, output)
                maximum = load_scalar(buffers.maximum_offsets, layer.maximum_offsets + mask)
                # Each entry is written and counted if it is not zero: processors often mispredict a branch here.
                store_scalar(nonzero.inputs, end, window + maximum)
                store_scalar(nonzero.values, end, gradient)
                store_scalar(nonzero.ends, unit, end + (gradient != 0))
                output += 1
            window += pool_size * layer.channels
    windows = layer.output_rows * layer.output_columns
    add_column_sums(buffers.output_gradients, start, windows, layer.padded_units, bias_gradients, 0)
    if _has_ties(buffers.masks[start:output], buffers.output_gradients[start:output]):
        _add_ties(layer, buffers, image, nonzero, bias_gradients)


@kernel
def _has_ties(masks: ByteArray, gradients: FloatArray) -> bool:
    """Return whether a window with a non-zero gradient has more than one maximum."""
    found = np.uint8(0)
    for number in range(len(masks)):
        mask = masks[number]
        without_first = np.uint8(mask & np.uint8(mask - np.uint8(1))) if gradients[number] != 0 else np.uint8(0)
        # Numba computes with two bytes in 64 bits; converted back to bytes, eight times as many fit into a register.
        found = np.uint8(found | without_first)
    return bool(found)


@kernel
def _add_ties(
    layer: np.record, buffers: Buffers, image: int, nonzero: NonzeroGradients, bias_gradients: FloatArray
) -> None:
    """List the maxima of each window after the first one, if the window's gradient is not zero."""
    for number in range(layer.output_size):
        window, unit = number // layer.padded_units, number % layer.padded_units
        output = layer.output + image * layer.output_size + number
        gradient, mask = buffers.output_gradients[output], buffers.masks[output]
        without_first = mask & (mask - 1)
        if gradient != 0 and without_first:
            row, column = window // layer.output_columns, window % layer.output_columns
            pixel = 2 * row * layer.columns + 2 * column
            start = layer.input + image * layer.input_size + pixel * layer.channels
            for position in range(1, 4):
                if without_first >> position & 1:
                    maximum = buffers.maximum_offsets[layer.maximum_offsets + (1 << position)]
                    store_scalar(nonzero.inputs, nonzero.ends[unit], start + maximum)
                    store_scalar(nonzero.values, nonzero.ends[unit], gradient)
                    nonzero.ends[unit] += 1
                    bias_gradients[unit] += gradient


@inlined
def backward_16(
    nonzero: NonzeroGradients,
    unit: int,
    filter_weights: FilterWeights,
    parameters: Parameters,
    buffers: Buffers,
    gradients: FloatArray,
) -> None:
    """Add a filter's non-zero output gradients to the gradients of 16 of its weights and of their inputs."""
    offset = load_scalar(buffers.filter_offsets, filter_weights.inputs)
    weights = load(parameters.weights, filter_weights.weights, LANES)
    sums: Any = load(gradients, filter_weights.gradients, LANES)
    for number in range(unit * nonzero.inputs.shape[1], load_scalar(nonzero.ends, unit)):
        inputs = load_scalar(nonzero.inputs, number) + offset
        sums = multiply_add(nonzero.values, number, load(buffers.activations, inputs, LANES), sums)
        input_gradients = load(buffers.output_gradients, inputs, LANES)
        store(buffers.output_gradients, inputs, multiply_add(nonzero.values, number, weights, input_gradients))
    store(gradients, filter_weights.gradients, sums)


def _backward_four_of(width: int) -> Callable[..., None]:
    """Make the kernel that does the same as `backward_16` with four vectors of ``width`` weights."""

    @inlined
    def backward_four(
        nonzero: NonzeroGradients,
        unit: int,
        filter_weights: FilterWeights,
        parameters: Parameters,
        buffers: Buffers,
        gradients: FloatArray,
    ) -> None:
        offsets = (
            load_scalar(buffers.filter_offsets, filter_weights.inputs),
            load_scalar(buffers.filter_offsets, filter_weights.inputs + width),
            load_scalar(buffers.filter_offsets, filter_weights.inputs + 2 * width),
            load_scalar(buffers.filter_offsets, filter_weights.inputs + 3 * width),
        )
        vectors = (0, width, 2 * width, 3 * width)
        weights = load_each(parameters.weights, shifted(vectors, filter_weights.weights), width)
        sums = load_each(gradients, shifted(vectors, filter_weights.gradients), width)
        for number in range(unit * nonzero.inputs.shape[1], load_scalar(nonzero.ends, unit)):
            inputs = shifted(offsets, load_scalar(nonzero.inputs, number))
            sums = multiply_add_vectors(nonzero.values, number, load_each(buffers.activations, inputs, width), sums)
            input_gradients = load_each(buffers.output_gradients, inputs, width)
            input_gradients = multiply_add_vectors(nonzero.values, number, weights, input_gradients)
            store_each(buffers.output_gradients, inputs, input_gradients)
        store_each(gradients, shifted(vectors, filter_weights.gradients), sums)

    return backward_four


backward_128 = _backward_four_of(32)
backward_64 = _backward_four_of(16)
