"""Nesterov momentum: move the weights along the gradient of the minibatch.

The update is cut into shares. A share is a range of each layer's weights; it sums their gradient over the minibatch by
itself, always in the same order, so it does not matter which thread computes it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.plan import Memory, Plan
from pipeline.engines.numba.products import multiply_eight_rows
from pipeline.engines.numba.views import outputs_of
from pipeline.networks import arrays
from pipeline.networks.arrays import FloatArray

SHARES = 16
"""As many as a minibatch of 128 has chunks, so that as many threads work on both."""

MIN_VELOCITY = np.float32(1e-30)
"""Smaller velocities become zero; they would change no weight above 1e-22."""


class Rates(NamedTuple):
    """How far a step goes."""

    learning_rate: np.float32
    momentum: np.float32


def dense_gradient(plan: Plan) -> FloatArray:
    """Return an array for the gradient of eight rows of the weights of any layer."""
    return arrays.zeros((8 * int(plan["padded_units"].max()),), np.float32)


@kernel
def update_share(
    plan: Plan,
    memory: Memory,
    gradient: FloatArray,
    images: int,
    chunks: int,
    share: int,
    rates: Rates,
) -> None:
    """Move one share of the weights along the gradient of a minibatch.

    All shares together equal `reference.take_step`, for dense layers with the gradient for the weight of
    `reference.dense_gradients`.

    Parameters
    ----------
    gradient : float32 array, as `dense_gradient` returns it
        Overwritten.
    images, chunks : int
        Sizes of the minibatch.
    """
    for layer in plan:
        if layer.is_dense:
            eights = layer.fan_in // 8
            for eight in range(eights * share // SHARES, eights * (share + 1) // SHARES):
                _update_eight_rows(layer, memory, gradient, 8 * eight, images, rates)
            if share == 0:
                _update_dense_biases(layer, memory, gradient, images, rates)
        else:
            _update_convolution(layer, memory, memory.chunk_gradients[:chunks], share, rates)


@kernel
def _update_eight_rows(
    layer: np.record,
    memory: Memory,
    gradient: FloatArray,
    first: int,
    images: int,
    rates: Rates,
) -> None:
    """Update the weights of eight inputs of a dense layer."""
    units, fan_in = layer.padded_units, layer.fan_in
    multiply_eight_rows(
        memory.activations[layer.input + first :],
        1,
        (1, 0, images, layer.input_size),
        memory.output_gradients[layer.output :],
        units,
        memory.zeros,
        gradient,
        units,
    )
    start = layer.weights + first * units
    _take_step(memory, start, gradient[: 8 * units], rates)
    if not layer.is_first:
        weights = memory.weights[start : start + 8 * units]
        transposed = memory.transposed[layer.weights + first :]
        for unit in range(layer.units):
            for row in range(8):
                transposed[unit * fan_in + row] = weights[row * units + unit]


@kernel
def _update_dense_biases(layer: np.record, memory: Memory, gradient: FloatArray, images: int, rates: Rates) -> None:
    units, output_gradients = layer.padded_units, outputs_of(layer, memory.output_gradients, 0, images)
    gradient[:units] = 0
    for start in range(0, images * units, units):
        for unit in range(units):
            gradient[unit] += output_gradients[start + unit]
    _take_step(memory, layer.biases, gradient[:units], rates)


@kernel
def _update_convolution(layer: np.record, memory: Memory, gradients: FloatArray, share: int, rates: Rates) -> None:
    """Update a share of a convolution's weights; share 0 updates the biases, too.

    Behind the first layer a share is whole filters, so that it can write their transposed copy.
    """
    fan_in, units = layer.fan_in, layer.padded_units
    lines, size = (fan_in, units) if layer.is_first else (layer.units, fan_in)
    first, stop = lines * share // SHARES, lines * (share + 1) // SHARES
    start, of_weights = first * size, layer.gradient + units
    gradient = _sum_of_chunks(gradients, of_weights + start, (stop - first) * size)
    _take_step(memory, layer.weights + start, gradient, rates)
    if share == 0:
        _take_step(memory, layer.biases, _sum_of_chunks(gradients, layer.gradient, layer.units), rates)
    if not layer.is_first:
        weights, transposed = memory.weights[layer.weights :], memory.transposed[layer.weights :]
        for unit in range(first, stop):
            for weight in range(fan_in):
                transposed[weight * units + unit] = weights[unit * fan_in + weight]


@kernel
def _sum_of_chunks(gradients: FloatArray, start: int, size: int) -> FloatArray:
    """Sum a range of the gradient over the chunks, in their order, into the row of the first chunk."""
    total = gradients[0, start : start + size]
    for chunk in range(1, len(gradients)):
        gradient = gradients[chunk, start : start + size]
        for number in range(size):
            total[number] += gradient[number]
    return total


@inlined
def _take_step(memory: Memory, start: int, gradient: FloatArray, rates: Rates) -> None:
    """Update the weights from offset ``start`` on as Lasagne does: v = mu v - lr g, then p = p + mu v - lr g.

    A weight without a gradient, for example of a unit whose rectifier stays closed, has a velocity that shrinks until
    float32 has few digits left for it. Processors take a hundred times as long for these numbers.
    """
    weights = memory.weights[start : start + len(gradient)]
    velocities = memory.velocities[start : start + len(gradient)]
    for number in range(len(weights)):
        step = rates.learning_rate * gradient[number]
        velocity = rates.momentum * velocities[number] - step
        velocity = np.float32(0) if abs(velocity) < MIN_VELOCITY else velocity
        velocities[number] = velocity
        weights[number] = weights[number] + rates.momentum * velocity - step
