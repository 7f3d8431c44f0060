"""Compute a function of each minibatch in turn: directly on the CPU, as CUDA graphs on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.engines.cuda.graphs import Recorder
from pipeline.networks.arrays import DoubleArray

Compute = Callable[[Tensor, Tensor], Tensor]
"""From the images and labels of a minibatch to its results, shape (results,)."""

Epoch = Callable[[Callable[[int], None]], DoubleArray]
"""From a function that receives the images done so far to the results of all minibatches, (minibatches, results)."""


def direct(compute: Compute, images: Tensor, labels: Tensor, size: int) -> Epoch:
    """Return a function that computes slices of the images in turn; the last one may be smaller."""
    minibatches = list(zip(torch.split(images, size), torch.split(labels, size), strict=True))

    def epoch(on_progress: Callable[[int], None]) -> DoubleArray:
        results = []
        for number, minibatch in enumerate(minibatches, 1):
            results.append(compute(*minibatch))
            on_progress(min(number * size, len(labels)))
        return torch.stack(results).double().numpy()

    return epoch


class Replayed:
    """An epoch with one recording for the full minibatches and one for the smaller last one.

    The device itself counts the minibatches and keeps their results, ``results`` numbers for each. They are copied to
    the host once, at the end.
    """

    def __init__(
        self, compute: Compute, images: Tensor, labels: Tensor, size: int, *, results: int, record: Recorder
    ) -> None:
        self._count = len(labels)
        full, rest = divmod(len(labels), size)
        self._results = all_results = torch.empty(full + (rest > 0), results, device=images.device)
        self._number = number = torch.zeros(1, dtype=torch.int64, device=images.device)
        stacked = [values[: full * size].reshape(full, size, *values.shape[1:]) for values in (images, labels)]
        left = [values[full * size :] for values in (images, labels)]

        def next_full() -> None:
            images, labels = (values.index_select(0, number).squeeze(0) for values in stacked)
            all_results.index_copy_(0, number, compute(images, labels).unsqueeze(0))
            number.add_(1)

        def last() -> None:
            all_results[-1].copy_(compute(*left))

        self._in_turn = [record(next_full)] * full if full else []
        if rest:
            self._in_turn.append(record(last))

    def __call__(self, on_progress: Callable[[int], None]) -> DoubleArray:
        self._number.zero_()
        for replay in self._in_turn:
            replay()
        results: DoubleArray = self._results.double().cpu().numpy()
        on_progress(self._count)
        return results
