"""The simplest kernel: exp() of a vector, for the article's check of a device."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pipeline.engines.triton.blocks import IS_INTERPRETED, blocks_in

BLOCK_SIZE = 2**18 if IS_INTERPRETED else 1024


@triton.jit
def _exponential(values: tl.tensor, results: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Compute results[i] = exp(values[i]); program p computes block p."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(results + i, tl.exp(tl.load(values + i, i < size, 0.0)), i < size)


def exponential(values: Tensor, results: Tensor) -> None:
    """Compute exp() of each value."""
    size = values.numel()
    _exponential[(blocks_in(size, BLOCK_SIZE),)](values, results, size, BLOCK_SIZE)
