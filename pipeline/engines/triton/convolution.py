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
from pipeline.engines.triton.parameters import LayerParameters
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
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr,
    BLOCK_WEIGHTS: tl.constexpr,
) -> None:
    """Compute outputs[n, r, c, f] = rectify(max of z[n, y, x, f] over the window of (r, c)), and its byte in maxima.

    Program (i, j) computes a block of positions (n, r, c) for a block of filters.
    """
    position = tl.program_id(0) * BLOCK_POSITIONS + tl.arange(0, BLOCK_POSITIONS)
    f = tl.program_id(1) * BLOCK_FILTERS + tl.arange(0, BLOCK_FILTERS)
    is_position, is_filter = position < images * SHAPE.output_rows * SHAPE.output_columns, f < SHAPE.filters
    n = position // (SHAPE.output_rows * SHAPE.output_columns)
    y = position // SHAPE.output_columns % SHAPE.output_rows * SHAPE.window
    x = position % SHAPE.output_columns * SHAPE.window
    if SHAPE.is_first:
        inputs += begin(counter) * (SHAPE.rows * SHAPE.columns * SHAPE.channels)
    biases = tl.load(parameters + SHAPE.fan_in * SHAPE.filters + f, is_filter, 0.0)
    maximum = tl.full((BLOCK_POSITIONS, BLOCK_FILTERS), float("-inf"), tl.float32)
    byte = tl.zeros((BLOCK_POSITIONS, BLOCK_FILTERS), tl.int32)
    for q in range(SHAPE.window * SHAPE.window):
        corner = _place(n, y + q // SHAPE.window, x + q % SHAPE.window, SHAPE)
        z = tl.zeros((BLOCK_POSITIONS, BLOCK_FILTERS), tl.float32)
        for first in range(0, SHAPE.fan_in, BLOCK_WEIGHTS):
            k = first + tl.arange(0, BLOCK_WEIGHTS)
            is_weight = k < SHAPE.fan_in
            patch = tl.load(
                inputs + corner[:, None] + _offset_in_patch(k, SHAPE), is_position[:, None] & is_weight, 0.0
            )
            weights = tl.load(parameters + k[:, None] * SHAPE.filters + f, is_weight[:, None] & is_filter, 0.0)
            z = tl.dot(patch, weights, z, input_precision=SHAPE.precision)
        z += biases
        byte = tl.where(z > maximum, 1 << q, tl.where(z == maximum, byte | (1 << q), byte))
        maximum = tl.maximum(maximum, z, propagate_nan=tl.PropagateNan.ALL)
    if SHAPE.is_rectified:
        byte = tl.where(maximum < 0, 0, tl.where(maximum == 0, byte | HALF, byte))
        maximum = tl.maximum(maximum, 0.0, propagate_nan=tl.PropagateNan.ALL)
    output = position[:, None] * SHAPE.filters + f
    tl.store(outputs + output, maximum, is_position[:, None] & is_filter)
    tl.store(maxima + output, byte.to(tl.uint8), is_position[:, None] & is_filter)


@triton.jit(do_not_specialize=["images", "images_per_part", "weight_tiles"])
def backward(
    inputs: tl.tensor,
    parameters: tl.tensor,
    maxima: tl.tensor,
    output_gradients: tl.tensor,
    input_gradients: tl.tensor,
    gradients: tl.tensor,
    counter: tl.tensor,
    images: tl.tensor,
    images_per_part: tl.tensor,
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
            program, inputs, maxima, output_gradients, gradients, images, images_per_part,
            SHAPE, PART_SIZE, BLOCK_FILTERS, BLOCK_WEIGHTS, BLOCK_SUMMED,
        )  # fmt: skip
    else:
        _input_gradient(
            program - weight_tiles, parameters, maxima, output_gradients, input_gradients, images,
            SHAPE, BLOCK_POSITIONS, BLOCK_CHANNELS, BLOCK_FILTERS,
        )  # fmt: skip


@triton.jit
def _input_gradient(
    tile: tl.tensor,
    parameters: tl.tensor,
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
    for tap in range(SHAPE.filter_rows * SHAPE.filter_columns):
        i, j = tap // SHAPE.filter_columns, tap % SHAPE.filter_columns
        for first in range(0, SHAPE.filters, BLOCK_FILTERS):
            f = first + tl.arange(0, BLOCK_FILTERS)
            dz = _before_pooling(maxima, output_gradients, n, y - i, x - j, f, is_position, SHAPE)
            place = (tap * SHAPE.channels + c) * SHAPE.filters + f[:, None]
            weights = tl.load(parameters + place, is_channel & (f < SHAPE.filters)[:, None], 0.0)
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
    images_per_part: tl.tensor,
    SHAPE: tl.constexpr,
    PART_SIZE: tl.constexpr,
    BLOCK_FILTERS: tl.constexpr,
    BLOCK_WEIGHTS: tl.constexpr,
    BLOCK_SUMMED: tl.constexpr,
) -> None:
    """Compute dw[k, f] = sum over n, y, x of patch[n, y, x, k] dz[n, y, x, f], db[f] = sum over n, y, x of dz.

    A tile is a block of weights of a block of filters, summed over a part of the images. `update.update` adds the
    parts, always in the same order.
    """
    filter_tiles, weight_tiles = tl.cdiv(SHAPE.filters, BLOCK_FILTERS), tl.cdiv(SHAPE.fan_in, BLOCK_WEIGHTS)
    weight_tile, part = tile // filter_tiles % weight_tiles, tile // (filter_tiles * weight_tiles)
    k = weight_tile * BLOCK_WEIGHTS + tl.arange(0, BLOCK_WEIGHTS)
    f = tile % filter_tiles * BLOCK_FILTERS + tl.arange(0, BLOCK_FILTERS)
    rows, columns = SHAPE.output_rows * SHAPE.window, SHAPE.output_columns * SHAPE.window
    last = tl.minimum((part + 1) * images_per_part, images) * (rows * columns)
    dw = tl.zeros((BLOCK_WEIGHTS, BLOCK_FILTERS), tl.float32)
    sums = tl.zeros((BLOCK_SUMMED, BLOCK_FILTERS), tl.float32)
    for first in range(part * images_per_part * (rows * columns), last, BLOCK_SUMMED):
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
        self, layer: LayerParameters, inputs: Values, matrix: Tensor, images: int, precision: str, blocks: Blocks
    ) -> None:
        assert isinstance(layer.entry.layer, Conv2DLayer)
        channels, rows, columns = layer.entry.input_shape
        self.layer = layer
        self._blocks = blocks
        self._matrix = matrix
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
        self._block_weights = blocks.of_columns(shape.fan_in)
        # The fewer sums a program has, the more it adds up at once.
        self._block_summed = blocks.summed * blocks.columns // max(self._block_weights, self._block_filters)
        self._filter_blocks = blocks_in(shape.filters, self._block_filters)
        self._weight_tiles = blocks_in(shape.fan_in, self._block_weights) * self._filter_blocks
        # Of the largest minibatch. A smaller one takes as many: with its own number it may have more parts.
        self._images_per_part = blocks_in(images, blocks_in(blocks.programs, self._weight_tiles))

    def forward(self, data: Minibatches, images: int) -> None:
        """Compute the outputs of the next ``images`` images."""
        positions = images * self._shape.output_rows * self._shape.output_columns
        block = self._blocks.of_rows(positions, self._filter_blocks)
        patch = power_of_two(self._shape.fan_in)
        forward[blocks_in(positions, block), self._filter_blocks](
            self._inputs.tensor, self._matrix, self.outputs.tensor, self._maxima, data.counter, images,
            self._shape, block, self._block_filters,
            patch if block * patch <= WHOLE_PATCHES else self._block_weights,
        )  # fmt: skip

    def gradient_parts(self, images: int) -> int:
        """Return the number of parts in which the gradient of a minibatch is computed."""
        return blocks_in(images, self._images_per_part)

    def backward(self, data: Minibatches, images: int, gradients: Tensor) -> None:
        """Compute the gradients of the weights, and of the inputs unless they are images, from those of the outputs."""
        shape = self._shape
        positions = images * shape.rows * shape.columns
        channel_blocks = blocks_in(shape.channels, self._block_channels)
        block = self._blocks.of_rows(positions, channel_blocks)
        input_tiles = 0 if shape.is_first else blocks_in(positions, block) * channel_blocks
        weight_tiles = self._weight_tiles * self.gradient_parts(images)
        backward[(weight_tiles + input_tiles,)](
            self._inputs.tensor, self._matrix, self._maxima, self.outputs.gradients, self._inputs.gradients, gradients,
            data.counter, images, self._images_per_part, weight_tiles,
            shape, self.layer.size,
            block, self._block_channels, self._block_filters, self._block_weights, self._block_summed,
            num_warps=8,  # with 4 warps the sums and gradients of a program take more registers than there are
        )  # fmt: skip
