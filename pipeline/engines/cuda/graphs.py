"""Record an action as a CUDA graph, and replay it.

Python needs longer to launch the operations of a small network's minibatch than a GPU to compute them. A CUDA graph
records the operations once and replays them in one call.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.engines.collector import collector_paused

Action = Callable[[], None]

Recorder = Callable[[Action], Action]
"""From an action to a function that repeats it. A recorder may run the action first, and then undoes its changes."""


def cuda_graphs(state: list[Tensor]) -> Recorder:
    """Return a function that records an action as a CUDA graph, and restores the tensors ``state`` that it changes.

    PyTorch requires that the action has run once on the stream of the recording, so that libraries have allocated
    their workspaces, that it waits for nothing, and that it allocates the same memory each time.
    """
    gc.collect()  # a dead graph that only Python's collector can free holds a GPU's memory
    # Graphs may share memory, since they run one after the other and their results are copied out.
    pool = torch.cuda.graph_pool_handle()
    stream = _recording_stream()

    def record(action: Action) -> Action:
        before = [tensor.clone() for tensor in state]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            action()
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, values in zip(state, before, strict=True):
            tensor.copy_(values)
        graph = torch.cuda.CUDAGraph()
        # The collector may destroy another graph, and then this recording fails with "operation not permitted when
        # stream is capturing". Up to 2.8, PyTorch collected right before each recording; since 2.9 it leaves that to
        # its caller (pytorch/pytorch#158193 and #161037).
        with collector_paused(), torch.cuda.graph(graph, pool=pool, stream=stream):
            action()
        return _Recording(graph, action)

    return record


class _Recording:
    """Replays a graph, and keeps the action with the tensors that it uses: the graph holds only their addresses."""

    def __init__(self, graph: torch.cuda.CUDAGraph, action: Action) -> None:
        self._graph, self._action = graph, action

    def __call__(self) -> None:
        self._graph.replay()


@functools.cache
def _recording_stream() -> torch.cuda.Stream:
    """Return one stream for all recordings: cuBLAS keeps a workspace for each stream until the process ends."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
