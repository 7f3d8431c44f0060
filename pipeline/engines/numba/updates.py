"""Nesterov momentum: move the weights along the gradient of the minibatch.

The update is cut into shares. A share is a range of each layer's weights; it sums their gradient over the minibatch by
itself, always in the same order, so it does not matter which thread computes it.
"""

from __future__ import annotations

import numpy as np

from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.plan import Buffers, Parameters, Plan
from pipeline.engines.numba.products import add_column_sums, eight_offsets, multiply_eight_rows
from pipeline.networks import arrays
from pipeline.networks.arrays import FloatArray

SHARES = 16
"""As many as a minibatch of 128 has chunks, so that as many threads work on both."""

MIN_VELOCITY = np.float32(1e-30)
"""Smaller velocities become zero; they would change no weight above 1e-22."""


def dense_gradient(plan: Plan) -> FloatArray:
    """Return an array for the gradient of eight rows of the weights of any layer."""
    return arrays.zeros((8 * int(plan["padded_units"].max()),), np.float32)


@kernel
def update_share(
    plan: Plan,
    parameters: Parameters,
    buffers: Buffers,
    gradient: FloatArray,
    images: int,
    chunks: int,
    share: int,
    learning_rate: np.float32,
    momentum: np.float32,
) -> None:
    """Move one share of the weights along the gradient of a minibatch.

    Parameters
    ----------
    gradient : float32 array, as `dense_gradient` returns it
        Overwritten.
    images, chunks : int
        Sizes of the minibatch.
    """
    for number in range(len(plan)):
        layer = plan[number]
        if layer.is_dense:
            _update_dense(layer, parameters, buffers, gradient, images, share, learning_rate, momentum)
        else:
            _update_convolution(layer, parameters, buffers, chunks, share, learning_rate, momentum)


@kernel
def _update_dense(
    layer: np.record,
    parameters: Parameters,
    buffers: Buffers,
    gradient: FloatArray,
    images: int,
    share: int,
    learning_rate: np.float32,
    momentum: np.float32,
) -> None:
    """Update eight rows of the weights at a time, and the biases in the first share."""
    units, fan_in = layer.padded_units, layer.fan_in
    eights = fan_in // 8
    for eight in range(eights * share // SHARES, eights * (share + 1) // SHARES):
        first = 8 * eight
        multiply_eight_rows(
            buffers.activations,
            eight_offsets(layer.input, 1, first, fan_in),
            (1, 0, images, layer.input_size),
            buffers.output_gradients,
            layer.output,
            units,
            buffers.zeros,
            0,
            gradient,
            eight_offsets(0, units, 0, 8),
        )
        start = layer.weights + first * units
        _take_step(parameters, start, gradient[: 8 * units], learning_rate, momentum)
        if not layer.is_first:
            weights = parameters.weights[start : start + 8 * units]
            offset = layer.transposed + first
            for unit in range(layer.units):
                for row in range(8):
                    parameters.transposed[offset + row] = weights[row * units + unit]
                offset += fan_in
    if share == 0:
        gradient[:units] = 0
        add_column_sums(buffers.output_gradients, layer.output, images, units, gradient, 0)
        _take_step(parameters, layer.biases, gradient[:units], learning_rate, momentum)


@kernel
def _update_convolution(
    layer: np.record,
    parameters: Parameters,
    buffers: Buffers,
    chunks: int,
    share: int,
    learning_rate: np.float32,
    momentum: np.float32,
) -> None:
    """Update a range of the filters and their biases."""
    fan_in, units = layer.fan_in, layer.padded_units
    first, stop = layer.units * share // SHARES, layer.units * (share + 1) // SHARES
    start = layer.gradient + first * fan_in
    gradient = _sum_of_chunks(buffers.chunk_gradients, chunks, start, layer.gradient + stop * fan_in)
    _take_step(parameters, layer.weights + first * fan_in, gradient, learning_rate, momentum)
    weights = parameters.weights[layer.weights + first * fan_in : layer.weights + stop * fan_in]
    transposed = parameters.transposed[layer.transposed : layer.transposed + fan_in * units]
    for unit in range(first, stop):
        for weight in range(fan_in):
            transposed[weight * units + unit] = weights[(unit - first) * fan_in + weight]
    biases = layer.gradient + layer.units * fan_in
    bias_gradient = _sum_of_chunks(buffers.chunk_gradients, chunks, biases + first, biases + stop)
    _take_step(parameters, layer.biases + first, bias_gradient, learning_rate, momentum)


@kernel
def _sum_of_chunks(gradients: FloatArray, chunks: int, start: int, end: int) -> FloatArray:
    """Sum a range of the gradient over the chunks, in their order, into the row of the first chunk."""
    total = gradients[0, start:end]
    for chunk in range(1, chunks):
        gradient = gradients[chunk, start:end]
        for number in range(end - start):
            total[number] += gradient[number]
    return total


@inlined
def _take_step(
    parameters: Parameters, start: int, gradient: FloatArray, learning_rate: np.float32, momentum: np.float32
) -> None:
    """Update the weights from offset ``start`` on as Lasagne does: v = mu v - lr g, then p = p + mu v - lr g.

    A weight without a gradient, for example of a unit whose rectifier stays closed, has a velocity that shrinks until
    float32 has few digits left for it. Processors take a hundred times as long for these numbers.
    """
    weights = parameters.weights[start : start + len(gradient)]
    velocities = parameters.velocities[start : start + len(gradient)]
    for number in range(len(weights)):
        velocity = momentum * velocities[number] - learning_rate * gradient[number]
        velocity = np.float32(0) if abs(velocity) < MIN_VELOCITY else velocity
        velocities[number] = velocity
        weights[number] = weights[number] + momentum * velocity - learning_rate * gradient[number]
