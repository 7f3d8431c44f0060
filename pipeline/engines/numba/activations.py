"""The rectifier and its slope, softmax and the loss."""

from __future__ import annotations

import math

import numpy as np

from pipeline.engines.numba.compiler import kernel
from pipeline.engines.numba.plan import AT_ZERO, Memory
from pipeline.engines.numba.views import outputs_of
from pipeline.networks.arrays import ByteArray, FloatArray, LabelArray


@kernel
def rectify(layer: np.record, outputs: FloatArray, masks: ByteArray) -> None:
    """Rectify a layer's outputs in place, and write their masks.

    Equals `forward.activated`.
    """
    if not layer.is_rectified:
        return
    for number in range(len(outputs)):
        value = outputs[number]
        masks[number] = 1 if value > 0 else 1 | AT_ZERO if value == 0 else 0
        outputs[number] = np.float32(0) if value < 0 else value


@kernel
def rectify_backward(layer: np.record, memory: Memory, first: int, stop: int) -> None:
    """Multiply a layer's output gradients of the images ``first`` to ``stop`` by the rectifier's slopes in place.

    Equals a product with `reference.slope`.
    """
    if not layer.is_rectified:
        return
    masks = outputs_of(layer, memory.masks, first, stop)
    gradients = outputs_of(layer, memory.output_gradients, first, stop)
    halve_at_zero(masks, gradients)
    for number in range(len(gradients)):
        gradients[number] = np.float32(0) if masks[number] == 0 else gradients[number]


@kernel
def halve_at_zero(masks: ByteArray, gradients: FloatArray) -> bool:
    """Halve the gradients where the rectifier's slope is one half; return whether a mask has several bits.

    A mask has several bits where the slope is one half, and where a window has tied maxima. Both are rare.
    """
    several = np.uint8(0)
    for mask in masks:
        # Numba computes with two bytes in 64 bits; converted back to bytes, eight times as many fit into a register.
        several = np.uint8(several | np.uint8(mask & np.uint8(mask - np.uint8(1))))
    if several:
        for number in range(len(masks)):
            gradients[number] *= np.float32(0.5) if masks[number] & AT_ZERO else np.float32(1)
    return bool(several)


@kernel
def cross_entropy(layer: np.record, memory: Memory, labels: LabelArray, first: int, images: int) -> None:
    """Compute the loss and the output gradients of each image, behind a softmax.

    The loss is log(sum of exp(z)) - z[label]. The output gradient is (softmax(z) - [1 at the label]) / N for a
    minibatch of N ``images``, whose loss is the mean of the images' losses. Equals `reference.cross_entropy` and
    `reference.logit_gradients`.

    Parameters
    ----------
    labels : uint8 array
        Labels of consecutive images of the minibatch, which begin with number ``first``.
    """
    for number in range(len(labels)):
        outputs = outputs_of(layer, memory.activations, first + number, first + number + 1)[: layer.units]
        gradients = outputs_of(layer, memory.output_gradients, first + number, first + number + 1)[: layer.units]
        highest = outputs[0]
        for unit in range(layer.units):
            highest = max(highest, outputs[unit])
        total = 0.0
        for unit in range(layer.units):
            gradients[unit] = math.exp(outputs[unit] - highest)
            total += gradients[unit]
        for unit in range(layer.units):
            gradients[unit] = gradients[unit] / total / images
        label = labels[number]
        gradients[label] -= np.float32(1 / images)
        memory.losses[first + number] = math.log(total) + highest - outputs[label]
