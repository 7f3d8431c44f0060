"""What is done to each activation: the rectifier and its slope, softmax and the loss."""

from __future__ import annotations

import math

import numpy as np

from pipeline.engines.numba.compiler import kernel
from pipeline.engines.numba.plan import Buffers
from pipeline.engines.numba.vectors import LANES, load, rectified, rectifier_slopes, store
from pipeline.networks.arrays import FloatArray, LabelArray


@kernel
def rectify(activations: FloatArray, slopes: FloatArray) -> None:
    """Rectify in place and note the slopes; there is a multiple of 16 values."""
    for place in range(0, len(activations), LANES):
        values = load(activations, place, LANES)
        store(slopes, place, rectifier_slopes(values))
        store(activations, place, rectified(values))


@kernel
def follow_slopes(signals: FloatArray, slopes: FloatArray) -> None:
    """Turn signals at what a nonlinearity puts out into signals at what comes in."""
    for place in range(len(signals)):
        signals[place] *= slopes[place]


@kernel
def cross_entropy(layer: np.record, buffers: Buffers, labels: LabelArray, first: int, images: int) -> None:
    """Take softmax and cross-entropy of the output layer: each image's loss, and its signals.

    The loss of an image is log(sum of exp(z)) - z[label]; the signal at z is (softmax(z) - [1 at the label]) / N,
    where N is the number of ``images`` in the minibatch, whose losses' mean is the minibatch's loss.

    Parameters
    ----------
    labels : the labels of consecutive images of the minibatch, from the ``first`` one on
    """
    for number in range(len(labels)):
        start = layer.output + (first + number) * layer.output_size
        outputs = buffers.activations[start : start + layer.units]
        signals = buffers.signals[start : start + layer.units]
        highest = outputs[0]
        for unit in range(layer.units):
            highest = max(highest, outputs[unit])
        total = 0.0
        for unit in range(layer.units):
            signals[unit] = math.exp(outputs[unit] - highest)
            total += signals[unit]
        for unit in range(layer.units):
            signals[unit] = signals[unit] / total / images
        label = labels[number]
        signals[label] -= np.float32(1 / images)
        buffers.losses[first + number] = math.log(total) + highest - outputs[label]
