"""What is computed of each minibatch in turn: as it stands on the CPU, as CUDA graphs on a GPU.

A GPU finishes most operations of a minibatch sooner than Python can ask for them. A CUDA graph records
what was asked once; replaying it is one call for the whole minibatch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pipeline.networks.arrays import DoubleArray

Compute = Callable[[Tensor, Tensor], Tensor]
"""From the images and labels of a minibatch to its results, shape (results,)."""

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""From an action to what repeats it."""


class Minibatches(ABC):
    """Minibatches in file order, the last one smaller."""

    @abstractmethod
    def compute(self, on_progress: Callable[[int], None]) -> DoubleArray:
        """Return the results of each, shape (minibatches, results)."""


class OneByOne(Minibatches):
    """They are slices, each computed as it comes."""

    def __init__(self, compute: Compute, images: Tensor, labels: Tensor, size: int) -> None:
        self._compute = compute
        self._images, self._labels = torch.split(images, size), torch.split(labels, size)

    def compute(self, on_progress: Callable[[int], None]) -> DoubleArray:
        results = []
        done = 0
        for images, labels in zip(self._images, self._labels, strict=True):
            results.append(self._compute(images, labels))
            done += len(labels)
            on_progress(done)
        return torch.stack(results).double().numpy()


class Replayed(Minibatches):
    """The full ones are recorded once and replayed, and so is the smaller one.

    The device itself counts how far it is, and gathers the results, which are fetched once at the end.

    Parameters
    ----------
    results : int
        How many the computation has for each minibatch.
    record : callable
        What makes a recording; it may run the action first, and undoes what that changed.
    """

    def __init__(
        self, compute: Compute, images: Tensor, labels: Tensor, size: int, *, results: int, record: Recorder
    ) -> None:
        self._count = len(labels)
        full, rest = divmod(len(labels), size)
        self._results = torch.empty(full + (rest > 0), results, device=images.device)
        self._number = torch.zeros(1, dtype=torch.int64, device=images.device)
        stacked = [part[: full * size].reshape(full, size, *part.shape[1:]) for part in (images, labels)]
        left = [part[full * size :] for part in (images, labels)]
        # Kept, since a recording knows no more than where all that it reads and writes lies.
        self._recorded = compute, stacked, left

        def next_full() -> None:
            images, labels = (part.index_select(0, self._number).squeeze(0) for part in stacked)
            self._results.index_copy_(0, self._number, compute(images, labels).unsqueeze(0))
            self._number.add_(1)

        def last() -> None:
            self._results[-1].copy_(compute(*left))

        self._in_turn = [record(next_full)] * full if full else []
        if rest:
            self._in_turn.append(record(last))

    def compute(self, on_progress: Callable[[int], None]) -> DoubleArray:
        self._number.zero_()
        for replay in self._in_turn:
            replay()
        results: DoubleArray = self._results.double().cpu().numpy()
        on_progress(self._count)
        return results


def cuda_graphs(state: Iterable[Tensor]) -> Recorder:
    """Return what records an action as a CUDA graph.

    PyTorch's rules for that: the action runs once on the stream that will be recorded, so that libraries set
    themselves up and take their workspaces before; it waits for nothing, and allocates alike each time.

    Parameters
    ----------
    state : iterable of Tensor
        What the action changes and must find unchanged afterwards.
    """
    changed = list(state)
    # Graphs may share their memory, since one runs after the other and results are copied out of it.
    pool = torch.cuda.graph_pool_handle()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def record(action: Callable[[], None]) -> Callable[[], None]:
        before = [tensor.clone() for tensor in changed]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            action()
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, values in zip(changed, before, strict=True):
            tensor.copy_(values)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            action()
        return graph.replay

    return record
