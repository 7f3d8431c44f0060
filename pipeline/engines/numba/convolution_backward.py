"""The backward pass of a convolution, of one image at a time: the gradients of its weights and of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.engines.numba.activations import rectify_backward
from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.intrinsics import (
    HAS_AVX512,
    LANES,
    add,
    load,
    load_each,
    multiply_add_scalars,
    shifted,
    store,
    store_each,
    where_bit_is_set,
)
from pipeline.engines.numba.nonzero import (
    FilterWeights,
    NonzeroGradients,
    backward_16,
    backward_64,
    backward_128,
    find_nonzero,
)
from pipeline.engines.numba.plan import Buffers, Parameters
from pipeline.networks import arrays
from pipeline.networks.arrays import FloatArray

Nine = tuple[int, int, int, int, int, int, int, int, int]

WEIGHTS_AT_ONCE = 9
"""The sums for so many weights of 16 filters fit into the registers; many first layers have filters of 3x3."""


@kernel
def convolution_backward(
    layer: np.record,
    parameters: Parameters,
    buffers: Buffers,
    image: int,
    gradients: FloatArray,
    nonzero: NonzeroGradients,
) -> None:
    """Add one image's gradients to those of a layer's weights, and compute the gradients of its inputs.

    Parameters
    ----------
    gradients : float32 array, shape (units * fan_in + padded_units,) or more
        Gradients of the weights, ``(units, fan_in)``, and of the biases.
    nonzero : NonzeroGradients
        Lists to overwrite.
    """
    rectify_backward(layer, buffers, image, image + 1)
    start = layer.input + image * layer.input_size
    buffers.output_gradients[start : start + layer.input_size] = 0
    filter_line = layer.filter_columns * layer.channels
    fan_in = layer.filter_rows * filter_line
    find_nonzero(layer, buffers, image, nonzero, gradients[layer.units * fan_in :])
    for unit in range(layer.units):
        weight = 0
        while fan_in - weight >= 128 and filter_line % 32 == 0 and HAS_AVX512:
            backward_128(nonzero, unit, _filter_weights(layer, unit, weight), parameters, buffers, gradients)
            weight += 128
        while fan_in - weight >= 64 and HAS_AVX512:
            backward_64(nonzero, unit, _filter_weights(layer, unit, weight), parameters, buffers, gradients)
            weight += 64
        while weight < fan_in:
            backward_16(nonzero, unit, _filter_weights(layer, unit, weight), parameters, buffers, gradients)
            weight += LANES


@inlined
def _filter_weights(layer: np.record, unit: int, weight: int) -> FilterWeights:
    number = unit * layer.fan_in + weight
    return FilterWeights(layer.filter_offsets + weight, layer.weights + number, number)


@kernel
def first_convolution_backward(layer: np.record, buffers: Buffers, image: int, sums: FloatArray) -> None:
    """Add one image's gradients to those of the first layer's weights; its inputs need no gradients.

    With few weights a filter gains little from a list of its non-zero gradients. So all filters visit all positions,
    and a window's gradient counts as zero at positions that are no maximum.

    Parameters
    ----------
    sums : float32 array, as `first_gradient_sums` returns it
        A row of ``padded_units`` for the biases, one for each weight, and up to eight that are ignored.
    """
    rectify_backward(layer, buffers, image, image + 1)
    for weight in range(0, layer.fan_in, WEIGHTS_AT_ONCE):
        for unit in range(0, layer.padded_units, LANES):
            _nine_weights_backward(layer, buffers, image, weight, unit, sums)


@inlined
def _nine_weights_backward(
    layer: np.record, buffers: Buffers, image: int, weight: int, unit: int, sums: FloatArray
) -> None:
    """Add one image's gradients to those of nine weights of 16 filters; the last weight fills in for missing ones."""
    channels, units = layer.channels, layer.padded_units
    row_stride = layer.columns * channels
    offsets = _nine_filter_offsets(layer, buffers, weight)
    rows = _nine_rows((1 + weight) * units + unit, units)
    weight_sums = load_each(sums, rows, LANES)
    bias_sums: Any = load(sums, unit, LANES)
    pool_size = 2 if layer.is_pooled else 1
    for position in range(pool_size * pool_size):
        output = layer.output + image * layer.output_size + unit
        for row in range(layer.output_rows):
            inputs = layer.input + image * layer.input_size
            inputs += (pool_size * row + position // 2) * row_stride + position % 2 * channels
            for _ in range(layer.output_columns):
                gradients = load(buffers.output_gradients, output, LANES)
                gradients = where_bit_is_set(buffers.masks, output, 1 << position, gradients)
                weight_sums = multiply_add_scalars(
                    buffers.activations, shifted(offsets, inputs), gradients, weight_sums
                )
                bias_sums = add(bias_sums, gradients)
                output += units
                inputs += pool_size * channels
    store_each(sums, rows, weight_sums)
    if weight == 0:
        store(sums, unit, bias_sums)


@inlined
def _nine_filter_offsets(layer: np.record, buffers: Buffers, weight: int) -> Nine:
    offsets, last = buffers.filter_offsets[layer.filter_offsets :], layer.fan_in - 1
    return (
        offsets[weight],
        offsets[min(weight + 1, last)],
        offsets[min(weight + 2, last)],
        offsets[min(weight + 3, last)],
        offsets[min(weight + 4, last)],
        offsets[min(weight + 5, last)],
        offsets[min(weight + 6, last)],
        offsets[min(weight + 7, last)],
        offsets[min(weight + 8, last)],
    )


@inlined
def _nine_rows(first: int, stride: int) -> Nine:
    return (
        first,
        first + stride,
        first + 2 * stride,
        first + 3 * stride,
        first + 4 * stride,
        first + 5 * stride,
        first + 6 * stride,
        first + 7 * stride,
        first + 8 * stride,
    )


def first_gradient_sums(layer: np.void) -> FloatArray:
    """Return zeros for `first_convolution_backward` to add to; none if the first layer is dense."""
    if layer["is_dense"]:
        return arrays.zeros((0,), np.float32)
    rows = 1 + -(-int(layer["fan_in"]) // WEIGHTS_AT_ONCE) * WEIGHTS_AT_ONCE
    return arrays.zeros((rows * int(layer["padded_units"]),), np.float32)


@kernel
def put_first_gradients(layer: np.record, sums: FloatArray, gradients: FloatArray) -> None:
    """Copy the sums over a chunk's images into its gradients of the weights, ``(units, fan_in)``, and biases."""
    fan_in = layer.fan_in
    for unit in range(layer.units):
        for weight in range(fan_in):
            gradients[unit * fan_in + weight] = sums[(1 + weight) * layer.padded_units + unit]
        gradients[layer.units * fan_in + unit] = sums[unit]
