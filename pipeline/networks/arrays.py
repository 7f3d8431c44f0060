"""Name the types of arrays, and allocate arrays that begin at a cache line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

ImageArray = npt.NDArray[Any]  # images, (N, ...): uint8 in color, float32 in grayscale
LabelArray = ByteArray  # indices of classes, (N,)

CACHE_LINE = 64
"""Bytes. A vector of 64 bytes in an array that begins at a multiple of it never lies in two lines of the cache."""


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of zeros that begins at a cache line; the system hands out its memory as values are written."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    space = np.zeros(size + CACHE_LINE, np.uint8)
    start = -space.ctypes.data % CACHE_LINE
    return space[start : start + size].view(dtype).reshape(shape)
