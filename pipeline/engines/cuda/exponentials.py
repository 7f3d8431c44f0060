"""Time exp() of a vector on a device, for the article's check."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.networks.arrays import FloatArray


def timed(
    exponential: Callable[[Tensor, Tensor], object], vector: FloatArray, repeats: int, device: str
) -> tuple[FloatArray, float]:
    """Call ``exponential(values, results)`` repeatedly on a device; return the results and the seconds."""
    values = torch.from_numpy(vector).to(device)
    results = torch.empty_like(values)
    exponential(values, results)  # before the clock starts, because the first use loads or compiles the operation
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        exponential(values, results)
    _wait(device)
    seconds = time.perf_counter() - start
    return results.cpu().numpy(), seconds


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()  # a GPU computes while Python goes on
