"""The last layer: logits, softmax, loss and all gradients up to the inputs of the layer, in one kernel.

loss[n] = log(sum over u of exp z[n, u]) - z[n, label of n],    dz[n, u] = (softmax(z)[n, u] - [u = label]) / images
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pipeline.engines.triton.blocks import blocks_in, power_of_two
from pipeline.engines.triton.dense import Dense
from pipeline.engines.triton.minibatches import Minibatches, begin, current
from pipeline.engines.triton.values import before_nonlinearity, rectified, times_slope

IMAGES = 16
"""Images that a program takes: few, because each program computes a whole layer for them."""

AT_ONCE = 4096
"""Weights that a program takes at once."""


@triton.jit(do_not_specialize=["images"])
def loss_and_gradients(
    values: tl.tensor,
    value_biases: tl.tensor,
    parameters: tl.tensor,
    transposed: tl.tensor,
    labels: tl.tensor,
    losses: tl.tensor,
    value_gradients: tl.tensor,
    gradients: tl.tensor,
    counter: tl.tensor,
    images: tl.tensor,
    SHAPE: tl.constexpr,
    PART_SIZE: tl.constexpr,
    BLOCK_IMAGES: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    BLOCK_CLASSES: tl.constexpr,
) -> None:
    """Compute the loss of a block of images, the gradients of its inputs, and its part of the weights' gradient."""
    n = tl.program_id(0) * BLOCK_IMAGES + tl.arange(0, BLOCK_IMAGES)
    u = tl.arange(0, BLOCK_CLASSES)
    is_image, is_class = n < images, u < SHAPE.units
    if SHAPE.is_first:
        first = begin(counter)
        values += first * SHAPE.inputs
    else:
        first = current(counter)
    biases = tl.load(parameters + SHAPE.inputs * SHAPE.units + u, is_class, 0.0)
    z = tl.zeros((BLOCK_IMAGES, BLOCK_CLASSES), tl.float32) + biases
    for start in range(0, SHAPE.inputs, BLOCK_INPUTS):
        k = start + tl.arange(0, BLOCK_INPUTS)
        is_input = k < SHAPE.inputs
        before = before_nonlinearity(values, value_biases, n[:, None], k, is_image[:, None] & is_input, images, SHAPE)
        weights = tl.load(parameters + k[:, None] * SHAPE.units + u, is_input[:, None] & is_class, 0.0)
        z = tl.dot(rectified(before, SHAPE), weights, z, input_precision=SHAPE.precision)

    shifted = tl.where(is_class, z, float("-inf"))
    shifted -= tl.max(shifted, 1)[:, None]
    exponentials = tl.exp(shifted)
    total = tl.sum(exponentials, 1)
    is_label = u == tl.load(labels + first + n, is_image, 0).to(tl.int32)[:, None]
    loss = tl.log(total) - tl.sum(tl.where(is_label, shifted, 0.0), 1)
    tl.store(losses + first + n, loss, is_image)
    dz = (exponentials / total[:, None] - tl.where(is_label, 1.0, 0.0)) / images
    dz = tl.where(is_image[:, None] & is_class, dz, 0.0)

    gradients += tl.program_id(0) * PART_SIZE
    tl.store(gradients + SHAPE.inputs * SHAPE.units + u, tl.sum(dz, 0), is_class)
    for start in range(0, SHAPE.inputs, BLOCK_INPUTS):
        k = start + tl.arange(0, BLOCK_INPUTS)
        is_input = k < SHAPE.inputs
        is_value = is_image[:, None] & is_input
        before = before_nonlinearity(values, value_biases, n[:, None], k, is_value, images, SHAPE)
        dw = tl.dot(tl.trans(rectified(before, SHAPE)), dz, input_precision=SHAPE.precision)
        tl.store(gradients + k[:, None] * SHAPE.units + u, dw, is_input[:, None] & is_class)
        if not SHAPE.is_first:
            weights = tl.load(transposed + u[:, None] * SHAPE.inputs + k, is_class[:, None] & is_input, 0.0)
            dx = tl.dot(dz, weights, input_precision=SHAPE.precision)
            tl.store(value_gradients + n[:, None] * SHAPE.inputs + k, times_slope(dx, before, SHAPE), is_value)


class Output(Dense):
    """The last layer."""

    def gradient_parts(self, images: int) -> int:
        return blocks_in(images, IMAGES)

    def loss_and_gradients(self, data: Minibatches, images: int, gradients: Tensor) -> None:
        """Compute the losses of the next ``images`` images, and the gradients of the inputs and of the weights."""
        classes = power_of_two(self.layer.units)
        # Few rounds, because there are few programs; registers and shared memory do not hold more weights.
        inputs = max(self.block, min(power_of_two(self.shape.inputs), AT_ONCE // classes))
        loss_and_gradients[(self.gradient_parts(images),)](
            self.inputs.tensor, self.inputs.biases, self.matrix, self.transposed, data.labels, data.losses,
            self.inputs.gradients, gradients, data.counter, images,
            self.shape, self.layer.size, IMAGES, inputs, classes,
            num_warps=8, num_stages=min(self.stages, 2),
        )  # fmt: skip
