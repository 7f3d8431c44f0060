"""A convolution with its bias, 2x2 maximum and rectifier in one kernel, and its backward pass in another.

Values are ``(images, rows, columns, channels)``. Filters are flipped when they are laid out, so the kernels correlate.
At the position (y, x) of an output before pooling, with k = (filter row i, filter column j, channel c):

    z[n, y, x, f] = b[f] + sum over k of patch[n, y, x, k] w[k, f],    patch[n, y, x, k] = inputs[n, y + i, x + j, c]

A byte for each output keeps what the backward pass needs of z: bit q is set where the q-th value of the pooling window
equals the maximum, and `HALF` where the maximum is exactly 0, where the slope of the rectifier is one half. It is 0
where the rectifier is closed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.engines.triton.blocks import Blocks, blocks_in, power_of_two
from pipeline.engines.triton.minibatches import Minibatches, begin, current
from pipeline.engines.triton.parameters import LayerParameters, Parameters
from pipeline.engines.triton.values import Values
from pipeline.networks.layers import Conv2DLayer, rectify

HALF = tl.constexpr(16)

WHOLE_PATCHES = 2048
"""Values up to which a program of the forward pass takes patches whole, so that it reads its filters once."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a convolution, with ``window`` 2 where 2x2 pooling follows it, else 1."""

    rows: int
    columns: int
    channels: int
    filters: int
    filter_rows: int
    filter_columns: int
    window: int
    is_rectified: bool
    is_first: bool
    precision: str

    @property
    def fan_in(self) -> int:
        """Weights of a filter."""
        return self.filter_rows * self.filter_columns * self.channels

    @property
    def output_rows(self) -> int:
        """Rows of the output, after pooling."""
        return (self.rows - self.filter_rows + 1) // self.window

    @property
    def output_columns(self) -> int:
        """Columns of the output, after pooling."""
        return (self.columns - self.filter_columns + 1) // self.window


@triton.jit(do_not_specialize=["images"])
def forward(
    inputs: tl.tensor,
    parameters: tl.tensor,
    outputs: tl.tensor,
    maxima: tl.tensor,
    counter: tl.tensor,
    images: tl.tensor,
    SHAPE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr,
    BLOCK_WEIGHTS: tl.constexpr,
) -> None:
    """Compute outputs[n, r, c, f] = rectify(max of z[n, y, x, f] over the window of (r, c)), and its byte in maxima.

    Program (i, j) computes a block of z for a block of filters. The positions of a window are neighbours in it.
    """
    WINDOW: tl.constexpr = SHAPE.window * SHAPE.window
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    f = tl.program_id(1) * BLOCK_FILTERS + tl.arange(0, BLOCK_FILTERS)
    place, q = row // WINDOW, row % WINDOW
    is_place, is_filter = place < images * SHAPE.output_rows * SHAPE.output_columns, f < SHAPE.filters
    n = place // (SHAPE.output_rows * SHAPE.output_columns)
    # `tl.where`: with `+ q % 2` Triton takes odd positions for even ones, and reads two values at once where a GPU can
    # read only one ("misaligned address").
    y = place // SHAPE.output_columns % SHAPE.output_rows * SHAPE.window + tl.where(q >= SHAPE.window, 1, 0)
    x = place % SHAPE.output_columns * SHAPE.window + tl.where(q % SHAPE.window == 1, 1, 0)
    if SHAPE.is_first:
        inputs += begin(counter) * (SHAPE.rows * SHAPE.columns * SHAPE.channels)
    corner = inputs + _place(n, y, x, SHAPE)
    z = tl.zeros((BLOCK_ROWS, BLOCK_FILTERS), tl.float32)
    for first in range(0, SHAPE.fan_in, BLOCK_WEIGHTS):
        k = first + tl.arange(0, BLOCK_WEIGHTS)
        is_weight = k < SHAPE.fan_in
        patch = tl.load(corner[:, None] + _offset_in_patch(k, SHAPE), is_place[:, None] & is_weight, 0.0)
        weights = tl.load(parameters + k[:, None] * SHAPE.filters + f, is_weight[:, None] & is_filter, 0.0)
        z = tl.dot(patch, weights, z, input_precision=SHAPE.precision)
    z += tl.load(parameters + SHAPE.fan_in * SHAPE.filters + f, is_filter, 0.0)

    PLACES: tl.constexpr = BLOCK_ROWS // WINDOW
    z = tl.reshape(z, (PLACES, WINDOW, BLOCK_FILTERS))
    # `tl.max` ignores nan, which must stay.
    is_nan = z != z  # noqa: PLR0124
    maximum = tl.max(tl.where(is_nan, float("-inf"), z), 1)
    maximum = tl.where(tl.max(is_nan.to(tl.int32), 1) == 1, float("nan"), maximum)
    bit = (1 << tl.arange(0, WINDOW))[None, :, None]
    byte = tl.sum(tl.where(z == maximum[:, None, :], bit, 0), 1)
    if SHAPE.is_rectified:
        byte = tl.where(maximum < 0, 0, tl.where(maximum == 0, byte | HALF, byte))
        maximum = tl.maximum(maximum, 0.0, propagate_nan=tl.PropagateNan.ALL)
    place = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    is_place = place < images * SHAPE.output_rows * SHAPE.output_columns
    output = place[:, None] * SHAPE.filters + f
    tl.store(outputs + output, maximum, is_place[:, None] & is_filter)
    tl.store(maxima + output, byte.to(tl.uint8), is_place[:, None] & is_filter)


@triton.jit(do_not_specialize=["images", "positions_per_part", "weight_tiles"])
def backward(
    inputs: tl.tensor,
    transposed: tl.tensor,
    maxima: tl.tensor,
    output_gradients: tl.tensor,
    input_gradients: tl.tensor,
    gradients: tl.tensor,
    counter: tl.tensor,
    images: tl.tensor,
    positions_per_part: tl.tensor,
    weight_tiles: tl.tensor,
    SHAPE: tl.constexpr,
    PART_SIZE: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr,
    BLOCK_WEIGHTS: tl.constexpr,
    BLOCK_SUMMED: tl.constexpr,
) -> None:
    """Compute the gradient of the weights in the first ``weight_tiles`` programs, that of the inputs in the others.

    A program for weights takes longest, so it starts first.
    """
    program = tl.program_id(0)
    if program < weight_tiles:
        if SHAPE.is_first:
            inputs += current(counter) * (SHAPE.rows * SHAPE.columns * SHAPE.channels)
        _weight_gradient(
            program, inputs, maxima, output_gradients, gradients, images, positions_per_part,
            SHAPE, PART_SIZE, BLOCK_FILTERS, BLOCK_WEIGHTS, BLOCK_SUMMED,
        )  # fmt: skip
    elif not SHAPE.is_first:
        _input_gradient(
            program - weight_tiles, transposed, maxima, output_gradients, input_gradients, images,
            SHAPE, BLOCK_POSITIONS, BLOCK_CHANNELS, BLOCK_FILTERS,
        )  # fmt: skip


@triton.jit
def _input_gradient(
    tile: tl.tensor,
    transposed: tl.tensor,
    maxima: tl.tensor,
    output_gradients: tl.tensor,
    input_gradients: tl.tensor,
    images: tl.tensor,
    SHAPE: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr,
) -> None:
    """Compute dx[n, y, x, c] = sum over i, j, f of dz[n, y - i, x - j, f] w[(i, j, c), f].

    A tile is a block of positions (n, y, x) for a block of channels.
    """
    channel_tiles = tl.cdiv(SHAPE.channels, BLOCK_CHANNELS)
    position = tile // channel_tiles * BLOCK_POSITIONS + tl.arange(0, BLOCK_POSITIONS)
    c = tile % channel_tiles * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    is_position, is_channel = position < images * SHAPE.rows * SHAPE.columns, c < SHAPE.channels
    n = position // (SHAPE.rows * SHAPE.columns)
    y, x = position // SHAPE.columns % SHAPE.rows, position % SHAPE.columns
    dx = tl.zeros((BLOCK_POSITIONS, BLOCK_CHANNELS), tl.float32)
    filter_blocks = tl.cdiv(SHAPE.filters, BLOCK_FILTERS)
    for number in range(SHAPE.filter_rows * SHAPE.filter_columns * filter_blocks):
        tap = number // filter_blocks
        i, j = tap // SHAPE.filter_columns, tap % SHAPE.filter_columns
        f = number % filter_blocks * BLOCK_FILTERS + tl.arange(0, BLOCK_FILTERS)
        dz = _before_pooling(maxima, output_gradients, n, y - i, x - j, f, is_position, SHAPE)
        place = (tap * SHAPE.filters + f[:, None]) * SHAPE.channels + c
        weights = tl.load(transposed + place, is_channel & (f < SHAPE.filters)[:, None], 0.0)
        dx = tl.dot(dz, weights, dx, input_precision=SHAPE.precision)
    tl.store(input_gradients + position[:, None] * SHAPE.channels + c, dx, is_position[:, None] & is_channel)


@triton.jit
def _weight_gradient(
    tile: tl.tensor,
    inputs: tl.tensor,
    maxima: tl.tensor,
    output_gradients: tl.tensor,
    gradients: tl.tensor,
    images: tl.tensor,
    positions_per_part: tl.tensor,
    SHAPE: tl.constexpr,
    PART_SIZE: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr,
    BLOCK_WEIGHTS: tl.constexpr,
    BLOCK_SUMMED: tl.constexpr,
) -> None:
    """Compute dw[k, f] = sum over n, y, x of patch[n, y, x, k] dz[n, y, x, f], db[f] = sum over n, y, x of dz.

    A tile is a block of weights of a block of filters, summed over a part of the positions. `update.update` adds the
    parts, always in the same order.
    """
    filter_tiles, weight_tiles = tl.cdiv(SHAPE.filters, BLOCK_FILTERS), tl.cdiv(SHAPE.fan_in, BLOCK_WEIGHTS)
    weight_tile, part = tile // filter_tiles % weight_tiles, tile // (filter_tiles * weight_tiles)
    k = weight_tile * BLOCK_WEIGHTS + tl.arange(0, BLOCK_WEIGHTS)
    f = tile % filter_tiles * BLOCK_FILTERS + tl.arange(0, BLOCK_FILTERS)
    rows, columns = SHAPE.output_rows * SHAPE.window, SHAPE.output_columns * SHAPE.window
    last = tl.minimum((part + 1) * positions_per_part, images * (rows * columns))
    dw = tl.zeros((BLOCK_WEIGHTS, BLOCK_FILTERS), tl.float32)
    sums = tl.zeros((BLOCK_SUMMED, BLOCK_FILTERS), tl.float32)
    for first in range(part * positions_per_part, last, BLOCK_SUMMED):
        position = first + tl.arange(0, BLOCK_SUMMED)
        is_position = position < last
        n, y, x = position // (rows * columns), position // columns % rows, position % columns
        dz = _before_pooling(maxima, output_gradients, n, y, x, f, is_position, SHAPE)
        place = _place(n, y, x, SHAPE) + _offset_in_patch(k, SHAPE)[:, None]
        patch = tl.load(inputs + place, is_position & (k < SHAPE.fan_in)[:, None], 0.0)
        dw = tl.dot(patch, dz, dw, input_precision=SHAPE.precision)
        sums += dz
    gradients += part * PART_SIZE
    is_weight = (k < SHAPE.fan_in)[:, None] & (f < SHAPE.filters)
    tl.store(gradients + k[:, None] * SHAPE.filters + f, dw, is_weight)
    if weight_tile == 0:
        tl.store(gradients + SHAPE.fan_in * SHAPE.filters + f, tl.sum(sums, 0), f < SHAPE.filters)


@triton.jit
def _place(n: tl.tensor, y: tl.tensor, x: tl.tensor, SHAPE: tl.constexpr) -> tl.tensor:
    """Return where the channels of a position of the inputs begin."""
    return ((n * SHAPE.rows + y) * SHAPE.columns + x) * SHAPE.channels


@triton.jit
def _offset_in_patch(k: tl.tensor, SHAPE: tl.constexpr) -> tl.tensor:
    """Return how far the k-th value of a patch lies behind its first: each row of a patch lies in one piece."""
    in_row = SHAPE.filter_columns * SHAPE.channels
    return k // in_row * (SHAPE.columns * SHAPE.channels) + k % in_row


@triton.jit
def _before_pooling(
    maxima: tl.tensor,
    output_gradients: tl.tensor,
    n: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    f: tl.tensor,
    is_position: tl.tensor,
    SHAPE: tl.constexpr,
) -> tl.tensor:
    """Return dz[n, y, x, f]: the output's gradient times the rectifier's slope where z is a maximum, 0 elsewhere.

    It is 0, too, outside of the image, and in a border that does not fill a window.
    """
    is_inside = (y >= 0) & (y < SHAPE.output_rows * SHAPE.window) & (x >= 0) & (x < SHAPE.output_columns * SHAPE.window)
    is_value = (is_position & is_inside)[:, None] & (f < SHAPE.filters)
    output = (n * SHAPE.output_rows + y // SHAPE.window) * SHAPE.output_columns + x // SHAPE.window
    place = output[:, None] * SHAPE.filters + f
    byte = tl.load(maxima + place, is_value, 0).to(tl.int32)
    gradient = tl.load(output_gradients + place, is_value, 0.0)
    # `&` instead of `%`: outside of the image y and x are negative, and nothing can be shifted by a negative number.
    q = (y & (SHAPE.window - 1)) * SHAPE.window + (x & (SHAPE.window - 1))
    is_maximum = (byte >> q[:, None]) & 1
    return tl.where(is_maximum == 1, tl.where(byte >= HALF, 0.5 * gradient, gradient), 0.0)


class Convolution:
    """The kernels of a convolution for up to ``images`` images at a time, and the values that they write."""

    def __init__(
        self,
        layer: LayerParameters,
        inputs: Values,
        parameters: Parameters,
        images: int,
        precision: str,
        blocks: Blocks,
    ) -> None:
        assert isinstance(layer.entry.layer, Conv2DLayer)
        channels, rows, columns = layer.entry.input_shape
        self.layer = layer
        self._blocks = blocks
        self._matrix = matrix = parameters.matrix(layer)
        self._transposed = parameters.transposed_matrix(layer)
        self._inputs = inputs
        self._shape = shape = Shape(
            rows, columns, channels, layer.units, *layer.entry.layer.filter_size,
            window=2 if layer.is_pooled else 1,
            is_rectified=layer.entry.layer.nonlinearity == rectify,
            is_first=inputs.is_data,
            precision=precision,
        )  # fmt: skip
        output = matrix.new_empty(images, shape.output_rows, shape.output_columns, shape.filters)
        self.outputs = Values(output, torch.empty_like(output), biases=matrix)
        self._maxima = torch.empty_like(output, dtype=torch.uint8)
        self._block_filters = blocks.of_columns(shape.filters)
        self._block_channels = blocks.of_columns(shape.channels)
        self._block_weights = min(blocks.weights, power_of_two(shape.fan_in))
        # The fewer sums a program has, the more it adds up at once.
        summed = blocks.summed // max(self._block_weights, self._block_filters)
        self._block_summed = min(summed, power_of_two(images * self._positions))
        self._filter_blocks = blocks_in(shape.filters, self._block_filters)
        self._weight_tiles = blocks_in(shape.fan_in, self._block_weights) * self._filter_blocks
        # Of the largest minibatch. A smaller one takes as many: with its own number it may have more parts.
        rounds = blocks_in(images * self._positions, self._block_summed)
        parts = blocks_in(blocks.weight_programs, self._weight_tiles)
        self._positions_per_part = blocks_in(rounds, parts) * self._block_summed

    def forward(self, data: Minibatches, images: int) -> None:
        """Compute the outputs of the next ``images`` images."""
        shape, rows = self._shape, images * self._positions
        block = self._blocks.of_rows(rows, self._block_filters, self._filter_blocks)
        patch = power_of_two(shape.fan_in)
        forward[blocks_in(rows, block), self._filter_blocks](
            self._inputs.tensor, self._matrix, self.outputs.tensor, self._maxima, data.counter, images,
            shape, block, self._block_filters,
            patch if block * patch <= WHOLE_PATCHES else self._blocks.of_columns(shape.fan_in),
        )  # fmt: skip

    @property
    def _positions(self) -> int:
        """Positions of an image that have a gradient before pooling."""
        return self._shape.output_rows * self._shape.output_columns * self._shape.window**2

    def gradient_parts(self, images: int) -> int:
        """Return the number of parts in which the gradient of a minibatch is computed."""
        return blocks_in(images * self._positions, self._positions_per_part)

    def backward(self, data: Minibatches, images: int, gradients: Tensor) -> None:
        """Compute the gradients of the weights, and of the inputs unless they are images, from those of the outputs."""
        shape = self._shape
        positions = images * shape.rows * shape.columns
        channel_blocks = blocks_in(shape.channels, self._block_channels)
        block = self._blocks.of_rows(positions, self._block_channels, channel_blocks)
        input_tiles = 0 if shape.is_first else blocks_in(positions, block) * channel_blocks
        weight_tiles = self._weight_tiles * self.gradient_parts(images)
        backward[(weight_tiles + input_tiles,)](
            self._inputs.tensor, self._transposed, self._maxima, self.outputs.gradients, self._inputs.gradients,
            gradients, data.counter, images, self._positions_per_part, weight_tiles,
            shape, self.layer.size,
            block, self._block_channels, self._block_filters, self._block_weights, self._block_summed,
        )  # fmt: skip
