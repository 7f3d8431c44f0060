"""Nesterov momentum on all weights of a network, in one kernel.

v = mu v - lr g,    p = p + mu v - lr g
"""

from __future__ import annotations

import triton
import triton.language as tl

from pipeline.engines.triton.dense import weight_gradient, weight_tile
from pipeline.engines.triton.minibatches import advance, current

AT_ONCE = tl.constexpr(32)
"""Parts of a gradient that are added at once."""


@triton.jit(do_not_specialize=["images", "dense_tiles"])
def update(
    parameters: tl.tensor,
    velocities: tl.tensor,
    transposed: tl.tensor,
    gradients: tl.tensor,
    blocks: tl.tensor,
    counter: tl.tensor,
    images: tl.tensor,
    learning_rate: tl.tensor,
    momentum: tl.tensor,
    data: tl.tensor,
    first_gradients: tl.tensor,
    dense_tiles: tl.tensor,
    FIRST_DENSE: tl.constexpr,
    DENSE_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Take the step of a block of weights, and make the next minibatch the current one.

    The first ``dense_tiles`` programs take the tiles of a dense layer that is the network's first, `FIRST_DENSE`, and
    compute their gradient themselves: nothing else in the step needs it. The others take the blocks of all other
    layers, and add the parts of their gradients, always in the same order. A row of ``blocks`` has the first weight of
    the layer, the block's first weight in it, the first value of its gradient, the values and the number of parts, and
    the layer's units, channels and weights.
    """
    program = tl.program_id(0)
    advance(counter, images)
    if program >= dense_tiles:
        row = blocks + (program - dense_tiles) * 8
        start, first, units, channels = tl.load(row), tl.load(row + 1), tl.load(row + 5), tl.load(row + 6)
        i = tl.arange(0, BLOCK)
        gradient = _sum_of_parts(gradients + tl.load(row + 2), tl.load(row + 3), tl.load(row + 4), i, BLOCK)
        weights = _step(parameters, velocities, start + first + i, gradient, i < BLOCK, learning_rate, momentum)
        place = start + _transposed_place(first + i, units, channels)
        tl.store(transposed + place, weights, first + i < tl.load(row + 7))
    elif FIRST_DENSE is not None:
        data += current(counter) * FIRST_DENSE.inputs
        k, u = weight_tile(program, FIRST_DENSE, DENSE_BLOCK)
        dw, db = weight_gradient(data, data, first_gradients, images, k, u, FIRST_DENSE, DENSE_BLOCK)
        is_unit = u < FIRST_DENSE.units
        is_weight = (k < FIRST_DENSE.inputs)[:, None] & is_unit
        _step(parameters, velocities, k[:, None] * FIRST_DENSE.units + u, dw, is_weight, learning_rate, momentum)
        # The first tiles have all units once; in the others no bias is theirs.
        is_bias = is_unit & (program < tl.cdiv(FIRST_DENSE.units, DENSE_BLOCK))
        biases = FIRST_DENSE.inputs * FIRST_DENSE.units + u
        _step(parameters, velocities, biases, db, is_bias, learning_rate, momentum)


@triton.jit
def _transposed_place(weight: tl.tensor, units: tl.tensor, channels: tl.tensor) -> tl.tensor:
    """Return where weights of a layer are in its transposed matrix, (places, units, channels): see `parameters`."""
    k, unit = weight // units, weight % units
    return (k // channels * units + unit) * channels + k % channels


@triton.jit
def _sum_of_parts(
    gradients: tl.tensor, part_size: tl.tensor, parts: tl.tensor, i: tl.tensor, BLOCK: tl.constexpr
) -> tl.tensor:
    """Return the sum over p of gradients[p, i]."""
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, parts, AT_ONCE):
        p = first + tl.arange(0, AT_ONCE)
        total += tl.sum(tl.load(gradients + p[:, None] * part_size + i, (p < parts)[:, None], 0.0), 0)
    return total


@triton.jit
def _step(
    parameters: tl.tensor,
    velocities: tl.tensor,
    place: tl.tensor,
    gradient: tl.tensor,
    is_weight: tl.tensor,
    learning_rate: tl.tensor,
    momentum: tl.tensor,
) -> tl.tensor:
    """Take the step of some weights, and return them."""
    velocity = momentum * tl.load(velocities + place, is_weight, 0.0) - learning_rate * gradient
    tl.store(velocities + place, velocity, is_weight)
    moved = tl.load(parameters + place, is_weight, 0.0) + momentum * velocity - learning_rate * gradient
    tl.store(parameters + place, moved, is_weight)
    return moved
