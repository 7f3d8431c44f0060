"""Share the work on an epoch among threads.

The work on a minibatch is cut into pieces of fixed size: first its chunks of eight images, forward and backward, then
the shares of the update. All pieces of all minibatches are numbered in this order. Each thread takes the next number,
waits until the pieces on which this one depends are done, and computes it.

So if another process delays a thread on its core, the other threads take over the remaining pieces. No piece's result
depends on the thread that computes it, so the result is the same for any number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types

from pipeline.engines.numba.activations import cross_entropy
from pipeline.engines.numba.compiler import entry_point, kernel
from pipeline.engines.numba.convolution import convolution_forward
from pipeline.engines.numba.convolution_backward import Maxima, convolution_backward, maxima_of
from pipeline.engines.numba.dense import dense_backward, dense_forward
from pipeline.engines.numba.first_convolution import first_convolution_backward
from pipeline.engines.numba.intrinsics import atomic_add, atomic_load
from pipeline.engines.numba.plan import IMAGES_PER_CHUNK, Memory, Plan, chunk_count
from pipeline.engines.numba.updates import SHARES, Rates, dense_gradient, update_share
from pipeline.engines.numba.views import outputs_of
from pipeline.networks.arrays import DoubleArray, FloatArray, IntArray, LabelArray

NEXT, DONE, COUNTERS = 0, 8, 16
"""Indices of the next piece's number and of the count of finished pieces, each in its own cache line, and the size."""

_yield_processor = types.ExternalFunction("sched_yield", types.int32())


class Epoch(NamedTuple):
    """Data, hyperparameters and results of an epoch of training."""

    images: FloatArray
    """Shape (N, values of an image)."""
    labels: LabelArray
    """Shape (N,)."""
    batch_size: int
    rates: Rates
    losses: DoubleArray
    """Each minibatch's mean loss before its step, shape (minibatches,)."""


class Scratch(NamedTuple):
    """Memory for one thread.

    The kernels of training allocate nothing: if an allocation failed in one thread, the others would wait for ever.
    """

    maxima: Maxima
    gradient: FloatArray
    """Gradient of a few rows of a dense layer's weights."""


def scratch(plan: Plan) -> Scratch:
    """Return the memory for one thread."""
    return Scratch(maxima_of(plan), dense_gradient(plan))


def pieces_of_epoch(minibatches: int, batch_size: int) -> int:
    """Return the number of pieces of an epoch."""
    return minibatches * (chunk_count(batch_size) + SHARES)


def max_threads(batch_size: int) -> int:
    """Return how many threads can work at the same time."""
    return max(chunk_count(batch_size), SHARES)


@entry_point
def train(
    counters: IntArray,
    max_pieces: int,
    slot: int,
    plan: Plan,
    memory: Memory,
    scratch: Scratch,
    epoch: Epoch,
) -> None:
    """Compute up to ``max_pieces`` pieces of an epoch, beside other threads.

    Parameters
    ----------
    counters : int64 array, shape (COUNTERS,)
        Zero at the start of the epoch and shared by the threads.
    slot : int
        This thread's number, which chooses its memory for the convolutions.
    scratch : Scratch
        This thread's own.
    """
    chunks = chunk_count(epoch.batch_size)
    pieces = chunks + SHARES
    for _ in range(max_pieces):
        number = atomic_add(counters, NEXT, 1)
        minibatch, piece = number // pieces, number % pieces
        if minibatch >= len(epoch.losses):
            return
        start = minibatch * epoch.batch_size
        size = min(epoch.batch_size, len(epoch.labels) - start)
        if piece < chunks:
            _wait(counters, minibatch * pieces)
            _compute_gradients(plan, memory, scratch, epoch, start, size, piece, slot)
        else:
            _wait(counters, minibatch * pieces + chunks)
            share = piece - chunks
            update_share(plan, memory, scratch.gradient, size, chunks, share, epoch.rates)
            if share == 0:
                epoch.losses[minibatch] = memory.losses[:size].mean()
        atomic_add(counters, DONE, 1)


@entry_point
def predict(
    counters: IntArray,
    slot: int,
    plan: Plan,
    memory: Memory,
    images: FloatArray,
    logits: FloatArray,
) -> None:
    """Compute the logits of images, beside other threads.

    Parameters
    ----------
    counters : int64 array, shape (COUNTERS,)
        Zero at the start and shared by the threads.
    slot : int
        This thread's number, and that of the chunk in the memory that it uses.
    images : float32 array, shape (N, values of an image)
    logits : float32 array, shape (N, classes)
        Overwritten.
    """
    output = plan[len(plan) - 1]
    first = slot * IMAGES_PER_CHUNK
    while True:
        start = atomic_add(counters, NEXT, 1) * IMAGES_PER_CHUNK
        if start >= len(images):
            return
        count = min(IMAGES_PER_CHUNK, len(images) - start)
        _forward(plan, memory, images[start : start + count], first, slot)
        for image in range(count):
            outputs = outputs_of(output, memory.activations, first + image, first + image + 1)
            for unit in range(output.units):
                logits[start + image, unit] = outputs[unit]


@kernel
def _compute_gradients(
    plan: Plan,
    memory: Memory,
    scratch: Scratch,
    epoch: Epoch,
    start: int,
    size: int,
    chunk: int,
    slot: int,
) -> None:
    """Compute the losses, output gradients and gradients of convolutions of a chunk.

    Parameters
    ----------
    start, size : int
        The minibatch. Chunks of a smaller last minibatch may be empty.
    """
    gradients = memory.chunk_gradients[chunk]
    gradients[:] = 0
    first = min(chunk * IMAGES_PER_CHUNK, size)
    stop = min(first + IMAGES_PER_CHUNK, size)
    if first == stop:
        return
    _forward(plan, memory, epoch.images[start + first : start + stop], first, slot)
    cross_entropy(plan[len(plan) - 1], memory, epoch.labels[start + first : start + stop], first, size)
    first_dense = len(plan)
    while first_dense > 0 and plan[first_dense - 1].is_dense:
        first_dense -= 1
        dense_backward(plan[first_dense], memory, first, stop)
    for image in range(first, stop):
        image_slot = slot * IMAGES_PER_CHUNK + image - first
        for number in range(first_dense - 1, 0, -1):
            layer_gradients = gradients[plan[number].gradient :]
            convolution_backward(plan[number], memory, image, image_slot, layer_gradients, scratch.maxima)
        if first_dense > 0:
            first_convolution_backward(plan[0], memory, image, image_slot, gradients[plan[0].gradient :])


@kernel
def _forward(plan: Plan, memory: Memory, images: FloatArray, first: int, slot: int) -> None:
    """Compute all activations of images, whose numbers in the minibatch begin with ``first``."""
    stop = first + len(images)
    for image in range(first, stop):
        image_slot = slot * IMAGES_PER_CHUNK + image - first
        _put_image(plan[0], memory.activations, images[image - first], image if plan[0].is_dense else image_slot)
        for number in range(len(plan)):
            if not plan[number].is_dense:
                convolution_forward(plan[number], memory, image, image_slot)
    for number in range(len(plan)):
        if plan[number].is_dense:
            dense_forward(plan[number], memory, first, stop)


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
def _wait(counters: IntArray, pieces: int) -> None:
    """Wait until so many pieces are done."""
    tries = 0
    while atomic_load(counters, DONE) < pieces:
        tries += 1
        # A thread that waits long leaves its core to other threads.
        if tries > 1000:
            _yield_processor()
