"""Train and evaluate with the numba engine while each of its arrays lies beside protected memory.

The kernels check no index. Here the system kills the process at the first access behind the end of an array, or before
its beginning.

Run with ``python -m tests.kernels_between_guards behind|before|beyond``; ``beyond`` tests the guard itself and fails.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np

from pipeline.engines.engine import Examples, Training
from pipeline.engines.numba import worksharing
from pipeline.engines.numba.engine import ENGINE
from pipeline.engines.numba.plan import Layout
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.weights import draw_weights
from tests.fused_networks import NETWORKS
from tests.small_networks import random_examples

PAGE = mmap.PAGESIZE
PROT_NONE = 0


def guarded(array, *, behind):
    """Copy an array so that it ends at a protected page, or begins after one."""
    pages = -(-array.nbytes // PAGE)
    memory = np.frombuffer(mmap.mmap(-1, (pages + 2) * PAGE), np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (memory.ctypes.data, memory.ctypes.data + (pages + 1) * PAGE):
        if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = (pages + 1) * PAGE - array.nbytes if behind else PAGE
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def guarding(make, *, behind):
    """Wrap a function that returns nested tuples of arrays to return guarded copies."""

    def guard(made):
        if isinstance(made, np.ndarray):
            return guarded(made, behind=behind)
        return type(made)(*map(guard, made))

    return lambda *arguments: guard(make(*arguments))


def main(where):
    behind = where != "before"
    if where == "beyond":
        values = guarded(np.zeros(3), behind=True)
        ctypes.memset(values.ctypes.data, 0, values.nbytes + 1)
    Layout.memory = guarding(Layout.memory, behind=behind)
    worksharing.scratch = guarding(worksharing.scratch, behind=behind)
    for network in NETWORKS.values():
        for count, batch_size, threads in ((1, 1, 1), (9, 4, 2), (21, 21, 3)):
            drawn = random_examples(network, count, 0)
            examples = Examples(guarded(drawn.images, behind=behind), guarded(drawn.labels, behind=behind))
            how = Hyperparameters(learning_rate=0.1, momentum=0.9, epochs=1, batch_size=batch_size)
            engine = ENGINE(threads=threads)
            trainer = engine.trainer(Training(network, how, draw_weights(network, 1), examples, examples))
            trainer.train_epoch(lambda _done: None)
            trainer.validate()
            engine.probabilities(network, trainer.weights(), examples.images)


if __name__ == "__main__":
    main(*sys.argv[1:])
