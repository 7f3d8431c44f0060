"""The check that the article begins with: take exp() of a vector many times and see what computed it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import theano
from theano import tensor


def exponentials(vector: Any, repeats: int) -> tuple[Any, str, float]:
    """Return exp() of the vector, ``cpu`` or ``gpu``, and the seconds that computing it ``repeats`` times took there.

    As in Theano's manual, the clock runs for the loop alone, not while Theano compiles.
    """
    x = theano.shared(np.asarray(vector, theano.config.floatX))
    f = theano.function([], tensor.exp(x))
    start = time.perf_counter()
    for _ in range(repeats):
        result = f()
    seconds = time.perf_counter() - start
    # on a GPU Theano replaces tensor.Elemwise by an operation of its own
    on_cpu = any(isinstance(node.op, tensor.Elemwise) for node in f.maker.fgraph.toposort())
    return np.asarray(result), "cpu" if on_cpu else "gpu", seconds
