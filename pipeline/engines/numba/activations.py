"""The rectifier and its slope, softmax and the loss."""

from __future__ import annotations

import math

import numpy as np

from pipeline.engines.numba.compiler import kernel
from pipeline.engines.numba.intrinsics import LANES, load, rectified, rectifier_slopes, store
from pipeline.engines.numba.plan import Buffers
from pipeline.networks.arrays import LabelArray


@kernel
def rectify(layer: np.record, buffers: Buffers, first: int, stop: int) -> None:
    """Rectify a layer's outputs of the images ``first`` to ``stop`` in place and write the slopes."""
    if layer.is_rectified:
        for offset in range(layer.output + first * layer.output_size, layer.output + stop * layer.output_size, LANES):
            values = load(buffers.activations, offset, LANES)
            store(buffers.slopes, offset, rectifier_slopes(values))
            store(buffers.activations, offset, rectified(values))


@kernel
def rectify_backward(layer: np.record, buffers: Buffers, first: int, stop: int) -> None:
    """Multiply a layer's output gradients of the images ``first`` to ``stop`` by the rectifier's slopes in place."""
    if layer.is_rectified:
        start, end = layer.output + first * layer.output_size, layer.output + stop * layer.output_size
        gradients, slopes = buffers.output_gradients[start:end], buffers.slopes[start:end]
        for number in range(len(gradients)):
            gradients[number] *= slopes[number]


@kernel
def cross_entropy(layer: np.record, buffers: Buffers, labels: LabelArray, first: int, images: int) -> None:
    """Compute the loss and the output gradients of each image, behind a softmax.

    The loss is log(sum of exp(z)) - z[label]. The output gradient is (softmax(z) - [1 at the label]) / N for a
    minibatch of N ``images``, whose loss is the mean of the images' losses.

    Parameters
    ----------
    labels : uint8 array
        Labels of consecutive images of the minibatch, which begin with number ``first``.
    """
    for number in range(len(labels)):
        start = layer.output + (first + number) * layer.output_size
        outputs = buffers.activations[start : start + layer.units]
        gradients = buffers.output_gradients[start : start + layer.units]
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
        buffers.losses[first + number] = math.log(total) + highest - outputs[label]
