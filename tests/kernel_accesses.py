"""Check each access to memory that kernels make in Triton's interpreter, as a GPU would make it.

The interpreter takes values one by one, wherever they are. A compiled kernel takes up to 16 bytes at once where Triton
concludes from the source that they lie together, at a multiple of their number. Where that is wrong, a GPU stops with
"misaligned address", or takes other values than the interpreter.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from torch import Tensor
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder

from pipeline.engines.triton import dense
from tests.compiled_kernels import name_of

KERNELS = str(Path(dense.__file__).parent)


class Accesses:
    """The accesses of launches in the interpreter, beside ``compiled``: what `compiled_kernels` prints of the same.

    What would go wrong on a GPU raises an error there. ``compiled`` keeps the launches that are yet to come.
    """

    def __init__(self, compiled):
        self.compiled = list(compiled)

    def watch(self, monkeypatch):
        """Have the interpreter report its launches, reads and writes before it does them."""
        launch = GridExecutor.__call__
        load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

        def watched_launch(executor, *arguments, **options):
            self._begin(name_of(executor.fn), [argument for argument in arguments if isinstance(argument, Tensor)])
            launch(executor, *arguments, **options)

        def watched_load(builder, pointers, mask, *others):
            self._check("ld", pointers, mask)
            return load(builder, pointers, mask, *others)

        def watched_store(builder, pointers, value, mask, *others):
            self._check("st", pointers, mask)
            return store(builder, pointers, value, mask, *others)

        monkeypatch.setattr(GridExecutor, "__call__", watched_launch)
        monkeypatch.setattr(InterpreterBuilder, "create_masked_load", watched_load)
        monkeypatch.setattr(InterpreterBuilder, "create_masked_store", watched_store)

    def _begin(self, kernel, tensors):
        compiled = self.compiled.pop(0)
        assert compiled["kernel"] == kernel
        self._kernel, self._widths = kernel, compiled["widths"]
        self._tensors = [(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes) for tensor in tensors]

    def _check(self, kind, pointers, mask):
        size = pointers.get_element_ty().primitive_bitwidth // 8
        addresses = pointers.data.astype(np.int64)
        is_used = np.broadcast_to(mask.data, addresses.shape).astype(bool)
        used, access = addresses[is_used], f"{kind} {kernel_line()}"
        if not used.size:
            return
        width = self._widths.get(access)
        is_inside = any(first <= used.min() and used.max() + size <= behind for first, behind in self._tensors)
        faults = {
            "leaves its tensor": not is_inside,
            "writes a place twice": kind == "st" and len(np.unique(used)) < len(used),
            "is not compiled": width is None,
            f"takes {width} bytes at once": width and not fit(addresses, is_used, size, width),
        }
        for fault, is_found in faults.items():
            assert not is_found, f"{self._kernel}: {access} {fault}"


def fit(addresses, is_used, size, width):
    """Return whether values of ``size`` bytes can be taken ``width`` bytes at once, along any of the axes.

    Those bytes lie together, at a multiple of ``width``, and all of them are used or none.
    """
    together = width // size
    for axis in np.flatnonzero(np.array(addresses.shape) % together == 0):
        vectors, is_taken = (np.moveaxis(of, axis, -1).reshape(-1, together) for of in (addresses, is_used))
        vectors, is_taken = vectors[is_taken.any(1)], is_taken[is_taken.any(1)]
        expected = vectors[:, :1] // width * width + size * np.arange(together)
        if is_taken.all() and np.array_equal(vectors, expected):
            return True
    return False


def kernel_line():
    """Return the line of a kernel that is running, such as "dense.py:61"."""
    frame = sys._getframe()
    while not frame.f_code.co_filename.startswith(KERNELS):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
