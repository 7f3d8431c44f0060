"""Arrays that begin where a cache line does, so that no load of a vector takes two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

CACHE_LINE = 64
"""Bytes, on the processors of today's PCs and servers."""


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of zeros; memory is taken only as it is written to."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    space = np.zeros(size + CACHE_LINE, np.uint8)
    start = -space.ctypes.data % CACHE_LINE
    return space[start : start + size].view(dtype).reshape(shape)
