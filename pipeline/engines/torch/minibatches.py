"""Compute a function of each minibatch in turn: directly on the CPU, as CUDA graphs on a GPU.

Python needs longer to launch the operations of a small network's minibatch than a GPU to compute them. A CUDA graph
records the operations once and replays them in one call.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pipeline.networks.arrays import DoubleArray

Compute = Callable[[Tensor, Tensor], Tensor]
"""From the images and labels of a minibatch to its results, shape (results,)."""

Epoch = Callable[[Callable[[int], None]], DoubleArray]
"""From a function that receives the images done so far to the results of all minibatches, (minibatches, results)."""

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""From an action to a function that repeats it. A recorder may run the action first, and then undoes its changes."""


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
        # A recording holds only the addresses of the tensors that it uses, so they are kept here.
        self._recorded = compute, stacked, left

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


def cuda_graphs(state: list[Tensor]) -> Recorder:
    """Return a function that records an action as a CUDA graph, and restores the tensors ``state`` that it changes.

    PyTorch requires that the action has run once on the stream of the recording, so that libraries have allocated
    their workspaces, that it waits for nothing, and that it allocates the same memory each time.
    """
    gc.collect()  # a dead graph that only Python's collector can free holds a GPU's memory
    # Graphs may share memory, since they run one after the other and their results are copied out.
    pool = torch.cuda.graph_pool_handle()
    stream = _recording_stream()

    def record(action: Callable[[], None]) -> Callable[[], None]:
        before = [tensor.clone() for tensor in state]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            action()
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, values in zip(state, before, strict=True):
            tensor.copy_(values)
        graph = torch.cuda.CUDAGraph()
        with collector_paused(), torch.cuda.graph(graph, pool=pool, stream=stream):
            action()
        return graph.replay

    return record


@functools.cache
def _recording_stream() -> torch.cuda.Stream:
    """Return one stream for all recordings: cuBLAS keeps a workspace for each stream until the process ends."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Have Python's collector free nothing, so that it destroys no graph while another one is recorded.

    The recording would fail with "operation not permitted when stream is capturing". Up to 2.8, PyTorch collected right
    before each recording; since 2.9 it leaves that to its caller (pytorch/pytorch#158193 and #161037).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
