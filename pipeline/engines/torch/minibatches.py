"""Compute a function of each minibatch in turn: directly on the CPU, as CUDA graphs on a GPU.

Python needs longer to launch the operations of a small network's minibatch than a GPU to compute them. A CUDA graph
records the operations once and replays them in one call.
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
"""From an action to a function that repeats it."""


class Minibatches(ABC):
    """Minibatches in file order; the last one may be smaller."""

    @abstractmethod
    def compute(self, on_progress: Callable[[int], None]) -> DoubleArray:
        """Return the results of each minibatch, shape (minibatches, results)."""


class Direct(Minibatches):
    """Slices of the images, each computed in turn."""

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
    """One recording for the full minibatches and one for the smaller last one.

    The device itself counts the minibatches and keeps their results, which are copied to the host once, at the end.

    Parameters
    ----------
    results : int
        Results of the computation for each minibatch.
    record : callable
        Makes a recording; it may run the action first, and undoes the changes.
    """

    def __init__(
        self, compute: Compute, images: Tensor, labels: Tensor, size: int, *, results: int, record: Recorder
    ) -> None:
        self._count = len(labels)
        full, rest = divmod(len(labels), size)
        self._results = torch.empty(full + (rest > 0), results, device=images.device)
        self._number = torch.zeros(1, dtype=torch.int64, device=images.device)
        stacked = [values[: full * size].reshape(full, size, *values.shape[1:]) for values in (images, labels)]
        left = [values[full * size :] for values in (images, labels)]
        # A recording holds only the addresses of the tensors that it uses, so they are kept here.
        self._recorded = compute, stacked, left

        def next_full() -> None:
            images, labels = (values.index_select(0, self._number).squeeze(0) for values in stacked)
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
    """Return a function that records an action as a CUDA graph.

    PyTorch requires that the action has run once on the stream of the recording, so that libraries have allocated
    their workspaces, that it waits for nothing, and that it allocates the same memory each time.

    Parameters
    ----------
    state : iterable of Tensor
        Tensors that the action changes; the recording restores them.
    """
    changed = list(state)
    # Graphs may share memory, since they run one after the other and their results are copied out.
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
