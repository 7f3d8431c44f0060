"""Messages between the engine and its child process: pickles of built-in objects and arrays."""

from __future__ import annotations

import pickle
from io import BufferedRWPair
from typing import Any

import numpy as np


def send(stream: BufferedRWPair, message: Any) -> None:
    """Write a message."""
    _Pickler(stream, protocol=5).dump(message)
    stream.flush()


def receive(stream: BufferedRWPair) -> Any:
    """Read a message; raise EOFError when the other side has closed the stream, even in the middle of a message."""
    try:
        return pickle.load(stream)  # noqa: S301 - of the engine or its child
    except pickle.UnpicklingError:
        raise EOFError from None


class _Pickler(pickle.Pickler):
    """Write arrays as shape, type and bytes: the child's NumPy cannot read the pickles of the engine's newer one."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        return np.ndarray, (value.shape, value.dtype.str, pickle.PickleBuffer(np.ascontiguousarray(value).data))
