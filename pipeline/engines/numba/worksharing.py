"""Which thread computes what, and when.

The work on a minibatch is cut into pieces of fixed size: first its parts, of eight images each, forward and
backward; then the shares of the update. All pieces of all minibatches have numbers in this order. Each
thread takes the next number, waits until the pieces that this one builds on are done, and computes it.

So a thread that is held up, by a neighbour on its core, leaves the rest of the pieces to the others; and
as no piece's result depends on who computed it, the result is the same for any number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types

from pipeline.engines.numba.activations import cross_entropy
from pipeline.engines.numba.atomics import fetch, fetch_add
from pipeline.engines.numba.compiler import entry_point, kernel
from pipeline.engines.numba.convolution import convolution_forward
from pipeline.engines.numba.convolution_backward import (
    convolution_backward,
    first_convolution_backward,
    put_first_gradients,
    room_for_first_gradients,
)
from pipeline.engines.numba.dense import dense_backward, dense_forward
from pipeline.engines.numba.nonzero import Hits, room_for_hits
from pipeline.engines.numba.plan import IMAGES_PER_PART, Buffers, Parameters, Plan, parts_of
from pipeline.engines.numba.updates import room_for_gradient, update_share
from pipeline.networks.arrays import DoubleArray, FloatArray, IntArray, LabelArray

SHARES = 16
"""Pieces into which an update is cut: as many as a minibatch of 128 has parts, so that as many threads share both."""

NEXT, DONE = 0, 8
"""Where the counters of pieces lie, each in a cache line of its own: the number to take next, and how many are done."""

COUNTERS = 16

_yield_processor = types.ExternalFunction("sched_yield", types.int32())


class Scratch(NamedTuple):
    """Room for what one thread computes on the way.

    The kernels of training allocate nothing: where that failed in one thread, the others would wait for it for ever.
    """

    hits: Hits
    first_sums: FloatArray
    """Sums of the gradient of the first layer, if that is a convolution, over the images of a part."""
    gradient: FloatArray
    """A few rows of the gradient of a dense layer's weights."""


def scratch(plan: Plan) -> Scratch:
    """Return room for one thread."""
    return Scratch(room_for_hits(plan), room_for_first_gradients(plan[0]), room_for_gradient(plan))


def pieces_of_epoch(minibatches: int, batch_size: int) -> int:
    """Return how many pieces of work an epoch is cut into."""
    return minibatches * (parts_of(batch_size) + SHARES)


def most_threads(batch_size: int) -> int:
    """Return how many threads find something to do at the same time."""
    return max(parts_of(batch_size), SHARES)


@entry_point
def train(
    counters: IntArray,
    most: int,
    plan: Plan,
    parameters: Parameters,
    buffers: Buffers,
    scratch: Scratch,
    images: FloatArray,
    labels: LabelArray,
    batch_size: int,
    learning_rate: np.float32,
    momentum: np.float32,
    losses: DoubleArray,
) -> None:
    """Compute pieces of an epoch of training, side by side with other threads: up to ``most`` of them.

    Parameters
    ----------
    counters : int64 array, shape (COUNTERS,)
        Zero at the start of the epoch; the threads share it.
    scratch : Scratch
        This thread's own.
    images : float32 array, shape (N, values of an image)
    labels : uint8 array, shape (N,)
    losses : float64 array, shape (minibatches,)
        Each minibatch's mean loss before its step.
    """
    parts = parts_of(batch_size)
    pieces = parts + SHARES
    for _ in range(most):
        number = fetch_add(counters, NEXT, 1)
        minibatch, piece = number // pieces, number % pieces
        if minibatch >= len(losses):
            return
        start = minibatch * batch_size
        size = min(batch_size, len(labels) - start)
        if piece < parts:
            _wait(counters, minibatch * pieces)
            first = min(piece * IMAGES_PER_PART, size)
            stop = min(first + IMAGES_PER_PART, size)
            part, truth = images[start + first : start + stop], labels[start + first : start + stop]
            _propagate(plan, parameters, buffers, scratch, part, truth, first, size, buffers.gradients[piece])
        else:
            _wait(counters, minibatch * pieces + parts)
            share = piece - parts
            room = scratch.gradient
            update_share(plan, parameters, buffers, room, size, parts, share, SHARES, learning_rate, momentum)
            if share == 0:
                losses[minibatch] = _mean(buffers.losses[:size])
        fetch_add(counters, DONE, 1)


@entry_point
def predict(
    counters: IntArray,
    slot: int,
    plan: Plan,
    parameters: Parameters,
    buffers: Buffers,
    images: FloatArray,
    logits: FloatArray,
) -> None:
    """Compute what goes into softmax for each image, side by side with other threads.

    Parameters
    ----------
    counters : int64 array, shape (COUNTERS,)
        Zero at the start; the threads share it.
    slot : int
        Which part's place in the buffers this thread uses.
    logits : float32 array, shape (N, classes)
    """
    output = plan[len(plan) - 1]
    first = slot * IMAGES_PER_PART
    while True:
        start = fetch_add(counters, NEXT, 1) * IMAGES_PER_PART
        if start >= len(images):
            return
        count = min(IMAGES_PER_PART, len(images) - start)
        _forward(plan, parameters, buffers, images[start : start + count], first)
        for image in range(count):
            place = output.output + (first + image) * output.output_size
            for unit in range(output.units):
                logits[start + image, unit] = buffers.activations[place + unit]


@kernel
def _propagate(
    plan: Plan,
    parameters: Parameters,
    buffers: Buffers,
    scratch: Scratch,
    images: FloatArray,
    labels: LabelArray,
    first: int,
    size: int,
    gradients: FloatArray,
) -> None:
    """Compute loss, signals and the gradients of convolutions for a part of a minibatch, from image ``first`` on.

    The part of a smaller last minibatch may be empty.
    """
    gradients[:] = 0
    if len(images) == 0:
        return
    stop = first + len(images)
    bottom = plan[0]
    scratch.first_sums[:] = 0
    _forward(plan, parameters, buffers, images, first)
    cross_entropy(plan[len(plan) - 1], buffers, labels, first, size)
    bottom_dense = len(plan)
    while bottom_dense > 0 and plan[bottom_dense - 1].is_dense:
        bottom_dense -= 1
        dense_backward(plan[bottom_dense], parameters, buffers, first, stop)
    for image in range(first, stop):
        for number in range(bottom_dense - 1, 0, -1):
            layer_gradients = gradients[plan[number].gradient :]
            convolution_backward(plan[number], parameters, buffers, image, layer_gradients, scratch.hits)
        if not bottom.is_dense:
            first_convolution_backward(bottom, buffers, image, scratch.first_sums)
    if not bottom.is_dense:
        put_first_gradients(bottom, scratch.first_sums, gradients)


@kernel
def _forward(plan: Plan, parameters: Parameters, buffers: Buffers, images: FloatArray, first: int) -> None:
    """Compute all activations of images, which are the buffers' from number ``first`` on."""
    stop = first + len(images)
    for image in range(first, stop):
        _put_image(plan[0], buffers.activations, images[image - first], image)
        for number in range(len(plan)):
            if not plan[number].is_dense:
                convolution_forward(plan[number], parameters, buffers, image)
    for number in range(len(plan)):
        if plan[number].is_dense:
            dense_forward(plan[number], parameters, buffers, first, stop)


@kernel
def _put_image(layer: np.record, activations: FloatArray, image: FloatArray, number: int) -> None:
    """Copy an image, ``(channels, rows, columns)``, to the first layer's input, channels last."""
    start = layer.input + number * layer.input_size
    target = activations[start : start + len(image)]
    channels = 1 if layer.is_dense else layer.channels
    pixels = len(image) // channels
    for channel in range(channels):
        for pixel in range(pixels):
            target[pixel * channels + channel] = image[channel * pixels + pixel]


@kernel
def _mean(losses: DoubleArray) -> float:
    total = 0.0
    for loss in losses:
        total += loss
    return total / len(losses)


@kernel
def _wait(counters: IntArray, pieces: int) -> None:
    """Wait until so many pieces are done."""
    tries = 0
    while fetch(counters, DONE) < pieces:
        tries += 1
        # A thread that waits long gives its core to whoever may be waiting for it.
        if tries > 1000:
            _yield_processor()
