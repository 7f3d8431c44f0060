"""The check that the article begins with: take exp() of a vector many times and see what computed it."""

from __future__ import annotations

from typing import Any

import numpy as np
import theano
from theano import tensor


def exponentials(vector: Any, repeats: int) -> tuple[Any, str]:
    """Return exp() of the vector, computed ``repeats`` times, and ``cpu`` or ``gpu``, whichever did it."""
    x = theano.shared(np.asarray(vector, theano.config.floatX))
    f = theano.function([], tensor.exp(x))
    for _ in range(repeats):
        result = f()
    # on a GPU Theano replaces tensor.Elemwise by an operation of its own
    on_cpu = any(isinstance(node.op, tensor.Elemwise) for node in f.maker.fgraph.toposort())
    return np.asarray(result), "cpu" if on_cpu else "gpu"
