"""The requests that the child process answers."""

from __future__ import annotations

import math
import time
from typing import Any, Callable

import numpy as np
import theano
from theano import tensor

from . import network
from .messages import Arrays

Fields = dict[str, Any]
Reply = tuple[Fields, Arrays]

PROGRESS_INTERVAL = 0.05
"""Seconds between two messages about progress."""


class Worker:
    """A method for each request: it takes a message's fields and arrays and returns those of the answer."""

    def __init__(self, send_progress: Callable[[Fields], None]) -> None:
        self._send_progress = send_progress

    def train(self, fields: Fields, arrays: Arrays) -> Reply:
        """Prepare a network for training; Theano compiles it here."""
        weights, velocity, train, valid = (_group(name, arrays) for name in ("weights", "velocity", "train", "valid"))
        self._training = network.Training(
            **fields,
            weights=weights,
            velocity=velocity,
            train=(train["images"], train["labels"]),
            valid=(valid["images"], valid["labels"]),
        )
        return {}, {}

    def epoch(self, fields: Fields, arrays: Arrays) -> Reply:
        """Train for an epoch, send the progress, and return the losses."""
        last = -math.inf

        def on_progress(done: int) -> None:
            nonlocal last
            if time.monotonic() - last >= PROGRESS_INTERVAL:
                last = time.monotonic()
                self._send_progress({"progress": done})

        return {}, {"losses": np.array(self._training.epoch(on_progress))}

    def validation(self, fields: Fields, arrays: Arrays) -> Reply:
        """Return the loss and the accuracy over the validation images."""
        loss, accuracy = self._training.validation()
        return {"loss": loss, "accuracy": accuracy}, {}

    def weights(self, fields: Fields, arrays: Arrays) -> Reply:
        """Return the current weights."""
        return {}, self._training.weights()

    def velocity(self, fields: Fields, arrays: Arrays) -> Reply:
        """Return the current velocity of each weight."""
        return {}, self._training.velocity()

    def probabilities(self, fields: Fields, arrays: Arrays) -> Reply:
        """Return the probability of each class for each image."""
        images = arrays.pop("images")
        return {}, {"probabilities": network.probabilities(fields["architecture"], arrays, images)}

    def exponentials(self, fields: Fields, arrays: Arrays) -> Reply:
        """Compute exp() of a vector repeatedly; return the result, the device (``cpu`` or ``gpu``) and the seconds.

        As in Theano's manual, the clock runs for the loop alone, not while Theano compiles.
        """
        x = theano.shared(np.asarray(arrays["vector"], theano.config.floatX))
        f = theano.function([], tensor.exp(x))
        start = time.perf_counter()
        for _ in range(fields["repeats"]):
            result = f()
        seconds = time.perf_counter() - start
        # On a GPU Theano replaces tensor.Elemwise by an operation of its own.
        on_cpu = any(isinstance(node.op, tensor.Elemwise) for node in f.maker.fgraph.toposort())
        return {"used": "cpu" if on_cpu else "gpu", "seconds": seconds}, {"result": np.asarray(result)}


def _group(name: str, arrays: Arrays) -> Arrays:
    """Return the arrays whose names begin with ``name/``, under the rest of their names."""
    return {full.partition("/")[2]: array for full, array in arrays.items() if full.partition("/")[0] == name}
