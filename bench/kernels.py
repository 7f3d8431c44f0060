"""Share of the processor's peak that each kernel of the ``numba`` engine reaches, on one core.

The peak is the speed of NumPy's matrix product (``sgemm``) on two matrices of 1,024 x 1,024. It and the kernels are
measured in turn, round after round, and the best of each counts. A kernel's operations are those of the declared layer,
without padding; in the backward pass of a pooled convolution only the maximum of each window counts.

Run it with ``python bench/kernels.py [NETWORK ...]``.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from measuring import shown
from pipeline.data.cifar import CLASS_NAMES
from pipeline.engines.numba import convolution, convolution_backward, dense, first_convolution, updates, worksharing
from pipeline.engines.numba.compiler import compile_for, entry_point
from pipeline.engines.numba.parameters import put_weights
from pipeline.engines.numba.plan import IMAGES_PER_CHUNK, Layout, chunk_count
from pipeline.networks.declaration import Network
from pipeline.networks.declared import find_network
from pipeline.networks.weights import draw_weights

IMAGES = 128
ROUNDS = 20
REPEATS = 10
"""Calls of a kernel in a round."""


@entry_point
def _convolutions_forward(layer, memory, _, images):
    for image in range(images):
        convolution.convolution_forward(layer, memory, image, image % IMAGES_PER_CHUNK)


@entry_point
def _convolutions_backward(layer, memory, scratch, images):
    gradients = memory.chunk_gradients[0, layer.gradient :]
    for image in range(images):
        image_slot = image % IMAGES_PER_CHUNK
        convolution_backward.convolution_backward(layer, memory, image, image_slot, gradients, scratch.maxima)


@entry_point
def _first_convolutions_backward(layer, memory, _, images):
    gradients = memory.chunk_gradients[0, layer.gradient :]
    for image in range(images):
        first_convolution.first_convolution_backward(layer, memory, image, image % IMAGES_PER_CHUNK, gradients)


@entry_point
def _dense_forward(layer, memory, _, images):
    for first in range(0, images, IMAGES_PER_CHUNK):
        dense.dense_forward(layer, memory, first, first + IMAGES_PER_CHUNK)


@entry_point
def _dense_backward(layer, memory, _, images):
    for first in range(0, images, IMAGES_PER_CHUNK):
        dense.dense_backward(layer, memory, first, first + IMAGES_PER_CHUNK)


@entry_point
def _update(plan, memory, scratch, images):
    rates = updates.Rates(np.float32(0), np.float32(0))
    for share in range(updates.SHARES):
        updates.update_share(plan, memory, scratch.gradient, images, chunk_count(images), share, rates)


def fastest(function: Callable[..., Any], *arguments: object) -> float:
    """Return the least time in seconds that a call took."""
    function(*arguments)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def peak() -> float:
    """Return the operations a second that NumPy's matrix product reaches on one core."""
    matrix = np.ones((1024, 1024), np.float32)
    with threadpool_limits(1):
        return 2 * 1024**3 / fastest(np.matmul, matrix, matrix)


def kernels_of(network: Network, layout: Layout) -> list[tuple[str, int, Callable[..., None], np.record]]:
    """List a network's kernels: name, operations for a minibatch, function, its first argument."""
    products = [2 * IMAGES * math.prod(shape) for name, shape in network.weight_shapes.items() if name.endswith("/W")]
    layers = list(zip(itertools.count(), layout.plan, products))
    forward = [forward_kernel(*layer) for layer in layers]
    backward = [backward_kernel(*layer) for layer in reversed(layers) if has_backward(layer[1])]
    work = sum(products for _, layer, products in layers if layer["is_dense"])
    return [*forward, *backward, ("update", work, _update, layout.plan)]


def forward_kernel(number: int, layer: np.record, products: int) -> tuple[str, int, Callable[..., None], np.record]:
    """Describe the forward pass of a layer; ``products`` counts its operations at one position of the images."""
    if layer["is_dense"]:
        return f"dense {number} forward", products, _dense_forward, layer
    positions = int(layer["windows"]) * (4 if layer["is_pooled"] else 1)
    return f"convolution {number} forward", products * positions, _convolutions_forward, layer


def backward_kernel(number: int, layer: np.record, products: int) -> tuple[str, int, Callable[..., None], np.record]:
    """Describe the backward pass: the gradient of the inputs; in a convolution, that of the filters too."""
    if layer["is_dense"]:
        return f"dense {number} backward", products, _dense_backward, layer
    maxima = int(layer["windows"])
    if layer["is_first"]:
        return f"convolution {number} backward", products * maxima, _first_convolutions_backward, layer
    return f"convolution {number} backward", 2 * products * maxima, _convolutions_backward, layer


def has_backward(layer: np.record) -> bool:
    """Return whether a layer has one: images need no gradient, and the update computes that of dense weights."""
    return not (layer["is_dense"] and layer["is_first"])


def measure(name: str) -> list[dict[str, Any]]:
    """Time each kernel that a network uses, and print a line for each."""
    architecture, _ = find_network(name)
    network = Network.build(architecture, len(CLASS_NAMES))
    layout = Layout.of(network, IMAGES, threads=1)
    memory, scratch = layout.memory(), worksharing.scratch(layout.plan)
    put_weights(layout, draw_weights(network, 42), memory)
    memory.activations[:] = np.random.default_rng(0).normal(size=memory.activations.shape)
    kernels = kernels_of(network, layout)
    for _, _, function, layer in kernels:
        compile_for(function, layer, memory, scratch, IMAGES)
    top, best = 0.0, [math.inf] * len(kernels)
    for _ in range(ROUNDS):
        top = max(top, peak())
        for number, (label, _, function, layer) in enumerate(kernels):
            if "backward" in label:
                memory.output_gradients[layer["output"] :][: IMAGES * layer["output_size"]] = 1e-3
            best[number] = min(best[number], fastest(function, layer, memory, scratch, IMAGES))
    rows = [
        {"kernel": label, "seconds": seconds, "flops": work / seconds, "share": work / seconds / top}
        for (label, work, _, _), seconds in zip(kernels, best, strict=True)
    ]
    work, seconds = sum(work for _, work, _, _ in kernels), sum(best)
    rows.append({"kernel": "a minibatch of 128", "seconds": seconds, "flops": work / seconds})
    rows[-1]["share"] = work / seconds / top
    print(f"\n{name.upper()}: the peak of one core is {top / 1e9:.1f} GFLOP/s")
    for row in rows:
        print(
            f"  {row['kernel']:24} {1e6 * row['seconds']:8.0f} us {row['flops'] / 1e9:8.1f} GFLOP/s {row['share']:6.0%}"
        )
    return rows


def main(names: list[str]) -> None:
    """Measure networks, and write ``.cache/bench/kernels.json``."""
    measured = {name: measure(name) for name in names}
    shown.keep("kernels", measured)


if __name__ == "__main__":
    main(sys.argv[1:] or ["mlp", "cnn"])
