"""The functions that the engine calls in the child process."""

from __future__ import annotations

import time
from typing import Any, Callable

import numpy as np
import theano
from theano import tensor

from . import network

PROGRESS_INTERVAL = 0.05
"""Seconds between two messages about progress."""


class Worker:
    """Functions by the names in requests: ``train``, then ``training.epoch`` and others of `network.Training`."""

    probabilities = staticmethod(network.probabilities)

    def __init__(self, send_progress: Callable[[int], None]) -> None:
        self._send_progress = send_progress
        self._next_time = 0.0

    def train(self, **training: Any) -> None:
        """Prepare a network for training; Theano compiles it here."""
        self.training = network.Training(**training, on_progress=self._on_progress)

    def exponentials(self, vector: Any, repeats: int) -> tuple[Any, float, str]:
        """Compute exp() of a vector repeatedly; return the result, the seconds and the device (``cpu`` or ``gpu``).

        As in Theano's manual, the clock runs for the loop alone, not while Theano compiles.
        """
        x = theano.shared(np.asarray(vector, theano.config.floatX))
        f = theano.function([], tensor.exp(x))
        start = time.perf_counter()
        for _ in range(repeats):
            result = f()
        seconds = time.perf_counter() - start
        # On a GPU Theano replaces tensor.Elemwise by an operation of its own.
        on_cpu = any(isinstance(node.op, tensor.Elemwise) for node in f.maker.fgraph.toposort())
        return np.asarray(result), seconds, "cpu" if on_cpu else "gpu"

    def _on_progress(self, images: int) -> None:
        if time.monotonic() >= self._next_time:
            self._next_time = time.monotonic() + PROGRESS_INTERVAL
            self._send_progress(images)
