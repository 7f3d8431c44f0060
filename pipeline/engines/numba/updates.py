"""Nesterov momentum: the gradient of the minibatch moves the weights.

The update is cut into shares. A share is a range of each layer's weights, and sums their gradient over
the minibatch by itself, always in the same order: which thread does it changes nothing.
"""

from __future__ import annotations

import numpy as np

from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.plan import Buffers, Parameters, Plan
from pipeline.engines.numba.products import add_column_sums, eight_rows, eight_starts
from pipeline.networks import arrays
from pipeline.networks.arrays import FloatArray

NO_VELOCITY = np.float32(1e-30)
"""Below this a velocity is taken for zero: it would move no weight that is larger than 1e-22."""


def room_for_gradient(plan: Plan) -> FloatArray:
    """Return room for the gradient of eight rows of the weights of any dense layer."""
    return arrays.zeros((8 * int(plan["width"].max()),), np.float32)


@kernel
def update_share(
    plan: Plan,
    parameters: Parameters,
    buffers: Buffers,
    gradient: FloatArray,
    images: int,
    parts: int,
    share: int,
    shares: int,
    learning_rate: np.float32,
    momentum: np.float32,
) -> None:
    """Move one share of the weights along the gradient of a minibatch of ``images`` images, in ``parts`` parts.

    Parameters
    ----------
    gradient : float32 array, as `room_for_gradient` returns it
        Room for the gradient of a few rows of a dense layer's weights.
    """
    for number in range(len(plan)):
        layer = plan[number]
        if layer.is_dense:
            _update_dense(layer, parameters, buffers, gradient, images, share, shares, learning_rate, momentum)
        else:
            _update_convolution(layer, parameters, buffers, parts, share, shares, learning_rate, momentum)


@kernel
def _update_dense(
    layer: np.record,
    parameters: Parameters,
    buffers: Buffers,
    gradient: FloatArray,
    images: int,
    share: int,
    shares: int,
    learning_rate: np.float32,
    momentum: np.float32,
) -> None:
    width, units, inputs = layer.width, layer.units, layer.channels
    # Eights of inputs, as that is what a product takes; the inputs are padded to a multiple of 16.
    eights = inputs // 8
    for eight in range(eights * share // shares, eights * (share + 1) // shares):
        first = 8 * eight
        eight_rows(
            buffers.activations,
            eight_starts(layer.input, 1, first, inputs),
            (1, 0, images, layer.input_size),
            buffers.signals,
            layer.output,
            width,
            buffers.zeros,
            0,
            gradient,
            eight_starts(0, width, 0, 8),
        )
        start, end = layer.weights + first * width, layer.weights + (first + 8) * width
        weights = parameters.weights[start:end]
        _step(weights, parameters.velocities[start:end], gradient, learning_rate, momentum)
        if not layer.is_first:
            place = layer.transposed + first
            for unit in range(units):
                for row in range(8):
                    parameters.transposed[place + row] = weights[row * width + unit]
                place += inputs
    if share == 0:
        gradient[:width] = 0
        add_column_sums(buffers.signals, layer.output, images, width, gradient, 0)
        end = layer.biases + width
        _step(
            parameters.weights[layer.biases : end],
            parameters.velocities[layer.biases : end],
            gradient[:width],
            learning_rate,
            momentum,
        )


@kernel
def _update_convolution(
    layer: np.record,
    parameters: Parameters,
    buffers: Buffers,
    parts: int,
    share: int,
    shares: int,
    learning_rate: np.float32,
    momentum: np.float32,
) -> None:
    taps = layer.filter_rows * layer.filter_columns * layer.channels
    first, stop = layer.units * share // shares, layer.units * (share + 1) // shares
    weights = parameters.weights[layer.weights + first * taps : layer.weights + stop * taps]
    _step(
        weights,
        parameters.velocities[layer.weights + first * taps : layer.weights + stop * taps],
        _sum_of_parts(buffers.gradients, parts, layer.gradient + first * taps, layer.gradient + stop * taps),
        learning_rate,
        momentum,
    )
    width = layer.width
    transposed = parameters.transposed[layer.transposed : layer.transposed + taps * width]
    for unit in range(first, stop):
        for tap in range(taps):
            transposed[tap * width + unit] = weights[(unit - first) * taps + tap]
    biases = layer.gradient + layer.units * taps
    _step(
        parameters.weights[layer.biases + first : layer.biases + stop],
        parameters.velocities[layer.biases + first : layer.biases + stop],
        _sum_of_parts(buffers.gradients, parts, biases + first, biases + stop),
        learning_rate,
        momentum,
    )


@kernel
def _sum_of_parts(gradients: FloatArray, parts: int, start: int, end: int) -> FloatArray:
    """Sum a range of the gradient over the parts of the minibatch, in their order, into the first part's."""
    total = gradients[0, start:end]
    for part in range(1, parts):
        gradient = gradients[part, start:end]
        for place in range(end - start):
            total[place] += gradient[place]
    return total


@inlined
def _step(
    weights: FloatArray,
    velocities: FloatArray,
    gradient: FloatArray,
    learning_rate: np.float32,
    momentum: np.float32,
) -> None:
    """Step as Lasagne's ``nesterov_momentum`` does: v = mu v - lr g, then p = p + mu v - lr g.

    The velocity of a weight that has no gradient any more, as that of a unit whose rectifier stays closed, would
    shrink until float32 has few digits left for it. Processors take a hundred times as long for such numbers.
    """
    for place in range(len(weights)):
        velocity = momentum * velocities[place] - learning_rate * gradient[place]
        velocity = np.float32(0) if abs(velocity) < NO_VELOCITY else velocity
        velocities[place] = velocity
        weights[place] = weights[place] + momentum * velocity - learning_rate * gradient[place]
