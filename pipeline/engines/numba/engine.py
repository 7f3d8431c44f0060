"""The engine for the CPU: kernels that Numba compiles once per machine, for its processor.

It supports convolution with stride 1 and without padding, 2x2 max pooling right after it, dense layers, rectified or
linear, and softmax at the end, of any size and number. The same weights and data give the same result to the bit, for
any number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from pipeline.engines.engine import Engine, Examples, Trainer, Training, Validation, confusion_matrix
from pipeline.engines.fused import check_examples, check_images
from pipeline.engines.numba import compiler, worksharing
from pipeline.engines.numba.parameters import get_parameters, put_parameters, put_weights
from pipeline.engines.numba.plan import IMAGES_PER_CHUNK, Layout, Memory
from pipeline.engines.numba.updates import Rates
from pipeline.errors import DeviceError, EngineError
from pipeline.networks.arrays import DoubleArray, FloatArray, IntArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.layers import DenseLayer, InputLayer, softmax
from pipeline.networks.weights import Weights, draw_weights

PROGRESS_REPORTS = 50
"""Reports of progress in an epoch."""


SMALLEST = Network.build(
    {
        "layers": [("input", InputLayer), ("output", DenseLayer)],
        "input_shape": (None, 1),
        "output_num_units": 1,
        "output_nonlinearity": softmax,
    }
)
"""A network of one input and one class."""


class NumbaEngine(Engine):
    """The engine; see the module."""

    def __post_init__(self) -> None:
        if self.device != "cpu":
            raise DeviceError(
                f"the numba engine computes on the CPU, not on {self.device!r}. "
                f"Use --engine torch --device {self.device}."
            )
        if numba.config.DISABLE_JIT:
            raise EngineError("NUMBA_DISABLE_JIT keeps Numba from compiling. Unset it, or use --engine torch.")

    def trainer(self, training: Training) -> Trainer:
        for examples in (training.train, training.valid):
            check_examples(training.network, examples)
        return NumbaTrainer(training, self.threads)

    def probabilities(self, network: Network, weights: Weights, images: FloatArray) -> FloatArray:
        check_images(network, images)
        layout = Layout.of(network, IMAGES_PER_CHUNK, self.threads)
        memory = layout.memory()
        put_weights(layout, weights, memory)
        logits = _logits(layout, memory, images, self.threads)
        return np.exp(_log_softmax(logits)).astype(np.float32)

    def exponentials(self, vector: FloatArray, repeats: int) -> tuple[FloatArray, float]:
        result = np.empty_like(vector)
        pieces = list(zip(np.array_split(vector, self.threads), np.array_split(result, self.threads), strict=True))

        def repeat(thread: int) -> None:
            piece, target = pieces[thread]
            for _ in range(repeats):
                np.exp(piece, out=target)

        start = time.perf_counter()
        _run_threads(self.threads, repeat)
        return result, time.perf_counter() - start

    def first_wait(self) -> str | None:
        if compiler.is_compiled(worksharing.train) and compiler.is_compiled(worksharing.predict):
            return None
        return "compiling the kernels, once on this machine; it takes about 13 seconds"

    def prepare(self) -> None:
        # The types of the kernels' arguments are the same for every network: the smallest one compiles them for all.
        one_image = Examples(np.zeros((1, 1), np.float32), np.zeros(1, np.uint8))
        how = Hyperparameters(learning_rate=0.01, momentum=0.9, epochs=1)
        self.trainer(Training(SMALLEST, how, draw_weights(SMALLEST, seed=0), one_image, one_image))


class NumbaTrainer(Trainer):
    """A network in training on the CPU."""

    def __init__(self, training: Training, threads: int) -> None:
        self._train, self._valid = training.train, training.valid
        self._threads = threads
        self._batch_size = min(training.hyperparameters.batch_size, len(training.train))
        self._layout = Layout.of(training.network, self._batch_size, threads)
        self._memory = self._layout.memory()
        self._scratch = [
            worksharing.scratch(self._layout.plan)
            for _ in range(min(threads, worksharing.max_threads(self._batch_size)))
        ]
        put_weights(self._layout, training.weights, self._memory)
        if training.velocity is not None:
            put_parameters(self._layout, training.velocity, self._memory.velocities)
        rates = training.hyperparameters.learning_rate, training.hyperparameters.momentum
        self._rates = Rates(*map(np.float32, rates))
        # The kernels are compiled here, so that the time is not part of an epoch's duration.
        compiler.compile_for(worksharing.train, *self._arguments(_new_counters(), 0, 0, self._epoch(0)))
        _logits(self._layout, self._memory, self._valid.images[:0], threads)

    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        batch_size = self._batch_size
        threads = len(self._scratch)
        minibatches = -(-len(self._train) // batch_size)
        epoch = self._epoch(minibatches)
        counters = _new_counters()
        pieces = worksharing.pieces_of_epoch(minibatches, batch_size)

        def compute(thread: int, max_pieces: int) -> None:
            worksharing.train(*self._arguments(counters, thread, max_pieces, epoch))

        def work(thread: int) -> None:
            if thread > 0:
                compute(thread, pieces)
                return
            # The first thread computes a few pieces at a time and reports the progress of all threads between them.
            while counters[worksharing.NEXT] < pieces:
                compute(0, max(1, pieces // (threads * PROGRESS_REPORTS)))
                done = int(counters[worksharing.DONE]) * minibatches // pieces
                on_progress(min(done * batch_size, len(self._train)))

        def stop() -> None:
            counters[worksharing.NEXT] = pieces

        _run_threads(threads, work, stop)
        on_progress(len(self._train))
        return epoch.losses

    def validate(self) -> Validation:
        logits = _logits(self._layout, self._memory, self._valid.images, self._threads)
        labels = self._valid.labels
        loss = -_log_softmax(logits)[np.arange(len(labels)), labels].mean()
        return Validation(float(loss), confusion_matrix(labels, logits.argmax(axis=1), self._layout.classes))

    def weights(self) -> Weights:
        return get_parameters(self._layout, self._memory.weights)

    def velocity(self) -> Weights:
        return get_parameters(self._layout, self._memory.velocities)

    def _epoch(self, minibatches: int) -> worksharing.Epoch:
        images = self._train.images.reshape(len(self._train), -1)
        return worksharing.Epoch(images, self._train.labels, self._batch_size, self._rates, np.zeros(minibatches))

    def _arguments(self, counters: IntArray, thread: int, max_pieces: int, epoch: worksharing.Epoch) -> tuple[Any, ...]:
        """Return the arguments of `worksharing.train`."""
        return counters, max_pieces, thread, self._layout.plan, self._memory, self._scratch[thread], epoch


def _new_counters() -> IntArray:
    return np.zeros(worksharing.COUNTERS, np.int64)


def _logits(layout: Layout, memory: Memory, images: FloatArray, threads: int) -> FloatArray:
    """Return the logits of each image, shape (N, classes)."""
    logits = np.empty((len(images), layout.classes), np.float32)
    counters = _new_counters()
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    arguments = (layout.plan, memory, flat, logits)
    compiler.compile_for(worksharing.predict, counters, 0, *arguments)
    _run_threads(threads, lambda thread: worksharing.predict(counters, thread, *arguments))
    return logits


def _log_softmax(logits: FloatArray) -> DoubleArray:
    with np.errstate(invalid="ignore"):  # infinite logits give the loss nan, and the training reports it
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logarithms: DoubleArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logarithms


def _run_threads(threads: int, work: Callable[[int], None], stop: Callable[[], None] = lambda: None) -> None:
    """Call ``work`` with 0, 1, ..., each in a thread of its own, 0 in this one, and raise the error of a thread.

    ``stop`` is called when this thread has ended, for example by Ctrl-C, and leaves the others no work.
    """
    with ThreadPoolExecutor(threads) as pool:
        try:
            others = [pool.submit(work, thread) for thread in range(1, threads)]
            work(0)
        finally:
            stop()
        for other in others:
            other.result()


ENGINE = NumbaEngine
