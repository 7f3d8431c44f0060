"""Messages between the engine and its child process: a line of JSON, then the bytes of the arrays that it announces.

Nothing is pickled, so neither side can make the other run code.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import numpy as np

Arrays = dict[str, "np.ndarray[Any, Any]"]

DTYPES = ("float32", "float64", "uint8")
"""Types of numbers that a message may hold."""


def send(stream: BinaryIO, fields: dict[str, Any], arrays: Arrays | None = None) -> None:
    """Write a message; raise ValueError for an array of another type than `DTYPES`."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    for name, array in contiguous.items():
        _check_dtype(name, array.dtype.name)
    announced = [(name, array.dtype.name, array.shape) for name, array in contiguous.items()]
    stream.write(json.dumps({"fields": fields, "arrays": announced}).encode() + b"\n")
    for array in contiguous.values():
        if array.size:
            stream.write(array.data.cast("B"))
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], Arrays]:
    """Read a message; raise EOFError when the other side has closed the stream, even in the middle of a message."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    return header["fields"], {name: _read(stream, name, dtype, shape) for name, dtype, shape in header["arrays"]}


def _read(stream: BinaryIO, name: str, dtype: str, shape: Any) -> Any:
    _check_dtype(name, dtype)
    array = np.empty(shape, dtype)
    unread = array.data.cast("B") if array.size else b""
    while len(unread):
        count = stream.readinto(unread)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        unread = unread[count:]
    return array


def _check_dtype(name: str, dtype: str) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"array {name!r} has type {dtype}; expected {', '.join(DTYPES)}")
