"""The engine for the CPU: kernels that Numba compiles, once per machine, for the processor at hand.

It knows convolution with stride 1 and without padding, 2x2 maximum pooling right after it, dense layers, rectified
or linear, and softmax at the end, in any sizes and numbers. See `pipeline.engines.numba` for the arithmetic.

The same weights and data give the same result to the bit, for any number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from pipeline.engines import devices
from pipeline.engines.engine import Engine, Examples, Trainer
from pipeline.engines.numba import compiler, worksharing
from pipeline.engines.numba.plan import (
    IMAGES_PER_PART,
    Buffers,
    Layout,
    Parameters,
    get_velocity,
    get_weights,
    put_velocity,
    put_weights,
)
from pipeline.errors import DeviceError, EngineError
from pipeline.networks.arrays import DoubleArray, FloatArray, IntArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import Weights

PROGRESS_REPORTS = 50
"""How often an epoch tells how far it is."""


class NumbaEngine(Engine):
    """What the module provides as its ``ENGINE``; see `pipeline.engines.engine.Engine`."""

    def trainer(
        self,
        network: Network,
        hyperparameters: Hyperparameters,
        weights: Weights,
        train: Examples,
        valid: Examples,
        *,
        device: str,
        threads: int,
        velocity: Weights | None = None,
    ) -> Trainer:
        _check_device(device)
        for examples in (train, valid):
            _check_images(network, examples.images)
            _check_labels(network, examples)
        return NumbaTrainer(network, hyperparameters, weights, train, valid, threads=threads, velocity=velocity)

    def probabilities(
        self, network: Network, weights: Weights, images: FloatArray, *, device: str, threads: int
    ) -> FloatArray:
        _check_device(device)
        _check_images(network, images)
        layout = Layout.of(network, IMAGES_PER_PART * threads)
        parameters = layout.parameters()
        put_weights(network, layout, weights, parameters)
        logits = _logits(layout, parameters, layout.buffers(), images, threads)
        return np.exp(_log_softmax(logits)).astype(np.float32)

    def exponentials(self, vector: FloatArray, repeats: int, *, device: str, threads: int) -> tuple[FloatArray, float]:
        _check_device(device)
        result = np.empty_like(vector)
        pieces = list(zip(np.array_split(vector, threads), np.array_split(result, threads), strict=True))

        def repeat(thread: int) -> None:
            piece, target = pieces[thread]
            for _ in range(repeats):
                np.exp(piece, out=target)

        start = time.perf_counter()
        _side_by_side(threads, repeat)
        return result, time.perf_counter() - start

    def device_name(self, device: str) -> str:
        _check_device(device)
        return devices.processor_name()

    def first_wait(self) -> str | None:
        if numba.config.DISABLE_JIT or (
            compiler.is_compiled(worksharing.train) and compiler.is_compiled(worksharing.predict)
        ):
            return None
        return "compiling the kernels, once on this machine; it takes about 15 seconds"


class NumbaTrainer(Trainer):
    """A network in training on the CPU; see `pipeline.engines.engine.Trainer`."""

    def __init__(
        self,
        network: Network,
        hyperparameters: Hyperparameters,
        weights: Weights,
        train: Examples,
        valid: Examples,
        *,
        threads: int,
        velocity: Weights | None,
    ) -> None:
        self._network = network
        self._train, self._valid = train, valid
        self._threads = threads
        self._batch_size = min(hyperparameters.batch_size, len(train))
        self._layout = Layout.of(network, max(self._batch_size, IMAGES_PER_PART * threads))
        self._parameters = self._layout.parameters()
        self._buffers = self._layout.buffers()
        self._scratch = [
            worksharing.scratch(self._layout.plan)
            for _ in range(min(threads, worksharing.most_threads(self._batch_size)))
        ]
        put_weights(network, self._layout, weights, self._parameters)
        if velocity is not None:
            put_velocity(network, self._layout, velocity, self._parameters)
        self._learning_rate = np.float32(hyperparameters.learning_rate)
        self._momentum = np.float32(hyperparameters.momentum)
        # Compiled here, so that no epoch's duration holds the time that it takes.
        compiler.compile_for(worksharing.train, *self._training(_new_counters(), 0, 0, np.zeros(0)))
        _logits(self._layout, self._parameters, self._buffers, valid.images[:0], threads)

    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        batch_size = self._batch_size
        threads = len(self._scratch)
        losses = np.zeros(-(-len(self._train) // batch_size))
        counters = _new_counters()
        pieces = worksharing.pieces_of_epoch(len(losses), batch_size)

        def compute(thread: int, most: int) -> None:
            worksharing.train(*self._training(counters, thread, most, losses))

        def work(thread: int) -> None:
            if thread > 0:
                compute(thread, pieces)
                return
            # The first thread computes its pieces a few at a time, and tells between them how far all are.
            while counters[worksharing.NEXT] < pieces:
                compute(0, max(1, pieces // (threads * PROGRESS_REPORTS)))
                done = int(counters[worksharing.DONE]) * len(losses) // pieces
                on_progress(min(done * batch_size, len(self._train)))

        def stop() -> None:
            counters[worksharing.NEXT] = pieces

        _side_by_side(threads, work, stop)
        on_progress(len(self._train))
        return losses

    def _training(self, counters: IntArray, thread: int, most: int, losses: DoubleArray) -> tuple[Any, ...]:
        """Return the arguments of `worksharing.train`."""
        return (
            counters,
            most,
            self._layout.plan,
            self._parameters,
            self._buffers,
            self._scratch[thread],
            self._train.images.reshape(len(self._train), -1),
            self._train.labels,
            self._batch_size,
            self._learning_rate,
            self._momentum,
            losses,
        )

    def validate(self) -> tuple[float, float]:
        logits = _logits(self._layout, self._parameters, self._buffers, self._valid.images, self._threads)
        rows = np.arange(len(self._valid))
        loss = -_log_softmax(logits)[rows, self._valid.labels].mean()
        return float(loss), float((logits.argmax(axis=1) == self._valid.labels).mean())

    def weights(self) -> Weights:
        return get_weights(self._network, self._layout, self._parameters)

    def velocity(self) -> Weights:
        return get_velocity(self._network, self._layout, self._parameters)


def _new_counters() -> IntArray:
    return np.zeros(worksharing.COUNTERS, np.int64)


def _logits(layout: Layout, parameters: Parameters, buffers: Buffers, images: FloatArray, threads: int) -> FloatArray:
    """Return what goes into softmax for each image, shape (N, classes)."""
    logits = np.empty((len(images), layout.classes), np.float32)
    counters = _new_counters()
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    arguments = (layout.plan, parameters, buffers, flat, logits)
    compiler.compile_for(worksharing.predict, counters, 0, *arguments)
    _side_by_side(threads, lambda thread: worksharing.predict(counters, thread, *arguments))
    return logits


def _log_softmax(logits: FloatArray) -> DoubleArray:
    with np.errstate(invalid="ignore"):  # infinite logits make the loss nan, and it is told as that
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logarithms: DoubleArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logarithms


def _side_by_side(threads: int, work: Callable[[int], None], stop: Callable[[], None] = lambda: None) -> None:
    """Call ``work`` with 0, 1, ... in so many threads, 0 in this one, and wait for all; raise what one raised.

    ``stop`` is to leave the others nothing to do, where this one has ended, by Ctrl-C for instance.
    """
    with ThreadPoolExecutor(threads) as pool:
        try:
            others = [pool.submit(work, thread) for thread in range(1, threads)]
            work(0)
        finally:
            stop()
        for other in others:
            other.result()


def _check_device(device: str) -> None:
    if device != "cpu":
        raise DeviceError(
            f"the numba engine computes on the CPU, not on {device!r}. Use --engine torch --device {device}."
        )
    if numba.config.DISABLE_JIT:
        raise EngineError("NUMBA_DISABLE_JIT keeps Numba from compiling. Unset it, or use --engine torch.")


def _check_images(network: Network, images: FloatArray) -> None:
    """Make sure of what the kernels rely on, since they check no index."""
    if images.shape[1:] != network.input_shape:
        raise EngineError(f"the images have shape {images.shape[1:]}; this network takes {network.input_shape}.")


def _check_labels(network: Network, examples: Examples) -> None:
    if examples.labels.max(initial=0) >= network.classes:
        raise EngineError(
            f"there is a label {examples.labels.max()}; this network tells {network.classes} classes apart, whose "
            f"labels are 0 to {network.classes - 1}. Change num_units of its last layer."
        )


ENGINE = NumbaEngine()
