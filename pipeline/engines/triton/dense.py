"""A dense layer, and its backward pass in one kernel.

    z[n, u] = b[u] + sum over k of x[n, k] w[k, u]

`forward` leaves z as sums over parts of k, and the readers add them: see `values`.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pipeline.engines.triton.blocks import Blocks, blocks_in
from pipeline.engines.triton.minibatches import Minibatches, begin
from pipeline.engines.triton.parameters import LayerParameters, Parameters
from pipeline.engines.triton.values import Shape, Values, before_nonlinearity, rectified, times_slope
from pipeline.networks.layers import DenseLayer, rectify

PART_SIZE = 128
"""Inputs that a program of the forward pass adds up, unless there are more than `MOST_PARTS` parts."""

MOST_PARTS = 16
"""Parts that each reader adds up."""

STAGES = 3
"""Rounds of a loop whose loads are under way at a time; Triton's own number."""


@triton.jit(do_not_specialize=["images"])
def forward(
    values: tl.tensor,
    value_biases: tl.tensor,
    parameters: tl.tensor,
    sums: tl.tensor,
    counter: tl.tensor,
    images: tl.tensor,
    SHAPE: tl.constexpr,
    PART: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Compute sums[p, n, u] = sum over the k of part p of x[n, k] w[k, u].

    Program (i, j, p) computes a block of images n and a block of units u.
    """
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    u = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    part = tl.program_id(2)
    is_image, is_unit = n < images, u < SHAPE.units
    if SHAPE.is_first:
        values += begin(counter) * SHAPE.inputs
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for first in range(part * PART, tl.minimum((part + 1) * PART, SHAPE.inputs), BLOCK):
        k = first + tl.arange(0, BLOCK)
        is_input = k < SHAPE.inputs
        before = before_nonlinearity(values, value_biases, n[:, None], k, is_image[:, None] & is_input, images, SHAPE)
        weights = tl.load(parameters + k[:, None] * SHAPE.units + u, is_input[:, None] & is_unit, 0.0)
        total = tl.dot(rectified(before, SHAPE), weights, total, input_precision=SHAPE.precision)
    place = (part * images + n[:, None]) * SHAPE.units + u
    tl.store(sums + place, total, is_image[:, None] & is_unit)


@triton.jit(do_not_specialize=["images", "input_tiles"])
def backward(
    values: tl.tensor,
    value_biases: tl.tensor,
    transposed: tl.tensor,
    output_gradients: tl.tensor,
    value_gradients: tl.tensor,
    gradients: tl.tensor,
    images: tl.tensor,
    input_tiles: tl.tensor,
    SHAPE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Compute the gradient of the inputs in the first ``input_tiles`` programs, that of the weights in the others.

    ``output_gradients`` are dz. The gradients of inputs that are a dense layer's sums are those of its own z.
    """
    program = tl.program_id(0)
    if program < input_tiles:
        _input_gradient(
            program, values, value_biases, transposed, output_gradients, value_gradients, images, SHAPE, BLOCK
        )
    else:
        tile = program - input_tiles
        k, u = weight_tile(tile, SHAPE, BLOCK)
        dw, db = weight_gradient(values, value_biases, output_gradients, images, k, u, SHAPE, BLOCK)
        is_weight = (k < SHAPE.inputs)[:, None] & (u < SHAPE.units)
        tl.store(gradients + k[:, None] * SHAPE.units + u, dw, is_weight)
        if tile < tl.cdiv(SHAPE.units, BLOCK):
            tl.store(gradients + SHAPE.inputs * SHAPE.units + u, db, u < SHAPE.units)


@triton.jit
def _input_gradient(
    tile: tl.tensor,
    values: tl.tensor,
    value_biases: tl.tensor,
    transposed: tl.tensor,
    output_gradients: tl.tensor,
    value_gradients: tl.tensor,
    images: tl.tensor,
    SHAPE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Compute dx[n, k] = sum over u of dz[n, u] w[k, u], times the slope of the nonlinearity that gave x."""
    input_tiles = tl.cdiv(SHAPE.inputs, BLOCK)
    n = tile // input_tiles * BLOCK + tl.arange(0, BLOCK)
    k = tile % input_tiles * BLOCK + tl.arange(0, BLOCK)
    is_image, is_input = n < images, k < SHAPE.inputs
    dx = tl.zeros((BLOCK, BLOCK), tl.float32)
    for first in range(0, SHAPE.units, BLOCK):
        u = first + tl.arange(0, BLOCK)
        is_unit = u < SHAPE.units
        dz = tl.load(output_gradients + n[:, None] * SHAPE.units + u, is_image[:, None] & is_unit, 0.0)
        weights = tl.load(transposed + u[:, None] * SHAPE.inputs + k, is_unit[:, None] & is_input, 0.0)
        dx = tl.dot(dz, weights, dx, input_precision=SHAPE.precision)
    is_value = is_image[:, None] & is_input
    if SHAPE.is_rectified:
        before = before_nonlinearity(values, value_biases, n[:, None], k, is_value, images, SHAPE)
        dx = times_slope(dx, before, SHAPE)
    tl.store(value_gradients + n[:, None] * SHAPE.inputs + k, dx, is_value)


@triton.jit
def weight_tile(tile: tl.tensor, SHAPE: tl.constexpr, BLOCK: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return the inputs k and the units u of a tile of the weights; the first tiles have the first inputs."""
    unit_tiles = tl.cdiv(SHAPE.units, BLOCK)
    return tile // unit_tiles * BLOCK + tl.arange(0, BLOCK), tile % unit_tiles * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def weight_gradient(
    values: tl.tensor,
    value_biases: tl.tensor,
    output_gradients: tl.tensor,
    images: tl.tensor,
    k: tl.tensor,
    u: tl.tensor,
    SHAPE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return dw[k, u] = sum over n of x[n, k] dz[n, u], and db[u] = sum over n of dz[n, u]."""
    dw = tl.zeros((BLOCK, BLOCK), tl.float32)
    sums = tl.zeros((BLOCK, BLOCK), tl.float32)
    for first in range(0, images, BLOCK):
        n = first + tl.arange(0, BLOCK)
        is_image = n < images
        before = before_nonlinearity(
            values, value_biases, n, k[:, None], is_image & (k < SHAPE.inputs)[:, None], images, SHAPE
        )
        is_gradient = is_image[:, None] & (u < SHAPE.units)
        dz = tl.load(output_gradients + n[:, None] * SHAPE.units + u, is_gradient, 0.0)
        dw = tl.dot(rectified(before, SHAPE), dz, dw, input_precision=SHAPE.precision)
        sums += dz
    return dw, tl.sum(sums, 0)


class Dense:
    """The kernels of a dense layer for up to ``images`` images at a time, and the sums that they write."""

    def __init__(
        self,
        layer: LayerParameters,
        inputs: Values,
        parameters: Parameters,
        images: int,
        precision: str,
        blocks: Blocks,
    ) -> None:
        assert isinstance(layer.entry.layer, DenseLayer)
        self.layer = layer
        self.block = block = blocks.columns
        self.inputs = inputs
        self.matrix = matrix = parameters.matrix(layer)
        self.transposed = parameters.transposed_matrix(layer)
        self.shape = Shape(layer.fan_in, layer.units, inputs.parts, inputs.is_rectified, inputs.is_data, precision)
        # Triton copies what a loop reads to shared memory for several rounds ahead; 16 parts would take 148 KB of it.
        self.stages = 1 if inputs.parts else STAGES
        self._part = max(PART_SIZE, blocks_in(layer.fan_in, MOST_PARTS * block) * block)
        parts = blocks_in(layer.fan_in, self._part)
        self.outputs = Values(
            matrix.new_empty(parts, images, layer.units),
            matrix.new_empty(images, layer.units),
            biases=matrix[-1],
            parts=parts,
            is_rectified=layer.entry.layer.nonlinearity == rectify,
        )

    def forward(self, data: Minibatches, images: int) -> None:
        """Compute the sums of the next ``images`` images."""
        blocks = blocks_in(images, self.block), blocks_in(self.layer.units, self.block)
        forward[*blocks, self.outputs.parts](
            self.inputs.tensor, self.inputs.biases, self.matrix, self.outputs.tensor, data.counter, images,
            self.shape, self._part, self.block, num_stages=self.stages,
        )  # fmt: skip

    def gradient_parts(self, images: int) -> int:
        """Return the number of parts in which the gradient of a minibatch is computed."""
        return 1

    def weight_tiles(self) -> int:
        """Return the number of programs that compute the gradient of the weights."""
        return blocks_in(self.layer.fan_in, self.block) * blocks_in(self.layer.units, self.block)

    def backward(self, data: Minibatches, images: int, gradients: Tensor) -> None:
        """Compute the gradients of the inputs and of the weights from those of the outputs."""
        input_tiles = blocks_in(images, self.block) * blocks_in(self.layer.fan_in, self.block)
        backward[(input_tiles + self.weight_tiles(),)](
            self.inputs.tensor, self.inputs.biases, self.transposed, self.outputs.gradients, self.inputs.gradients,
            gradients, images, input_tiles, self.shape, self.block, num_stages=self.stages,
        )  # fmt: skip
