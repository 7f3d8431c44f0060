"""Share of the processor's peak that each kernel of the ``numba`` engine reaches, on one core.

The peak is what NumPy's matrix product (``sgemm``) reaches on two matrices of 1,024 x 1,024, the best of tries
before each kernel. A kernel's arithmetic is
counted as what the layer does, without the channels that only fill up vectors; of the way back through a
pooled convolution, which visits one place in four, only a quarter is counted.

Run it with ``python bench/kernels.py [NETWORK ...]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

from measuring import shown
from pipeline import weights
from pipeline.declaration import Network
from pipeline.kernels import convolution, convolution_backward, dense, hits, schedule, updates
from pipeline.kernels.plan import IMAGES_PER_PART, Layout, put_weights
from pipeline.networks import declared

IMAGES = 128
REPEATS = 100
PEAK_REPEATS = 20


@njit(error_model="numpy")
def _convolutions_forward(layer, parameters, buffers, images):
    for image in range(images):
        convolution.convolution_forward(layer, parameters, buffers, image)


@njit(error_model="numpy")
def _convolutions_backward(layer, parameters, buffers, images):
    sums = np.zeros(convolution_backward.rows_of_first_gradients(layer) * layer.width, np.float32)
    room = layer.width * hits.room_for_hits(layer)
    starts, ends = np.empty(layer.width, np.int64), np.empty(layer.width, np.int64)
    found = hits.Hits(np.empty(room, np.int64), np.empty(room, np.float32), starts, ends)
    gradients = buffers.gradients[0, layer.gradient :]
    for image in range(images):
        if layer.is_first:
            convolution_backward.first_convolution_backward(layer, buffers, image, sums)
        else:
            convolution_backward.convolution_backward(layer, parameters, buffers, image, gradients, found)


@njit(error_model="numpy")
def _dense_forward(layer, parameters, buffers, images):
    for first in range(0, images, IMAGES_PER_PART):
        dense.dense_forward(layer, parameters, buffers, first, first + IMAGES_PER_PART)


@njit(error_model="numpy")
def _dense_backward(layer, parameters, buffers, images):
    zeros = np.zeros(layer.channels, np.float32)
    for first in range(0, images, IMAGES_PER_PART):
        dense.dense_backward(layer, parameters, buffers, first, first + IMAGES_PER_PART, zeros)


@njit(error_model="numpy")
def _update(plan, parameters, buffers, images):
    parts = images // IMAGES_PER_PART
    for share in range(schedule.SHARES):
        updates.update_share(
            plan, parameters, buffers, images, parts, share, schedule.SHARES, np.float32(0), np.float32(0)
        )


def fastest(function: Callable[..., Any], *arguments: object, repeats: int = REPEATS) -> float:
    """Return the least time in seconds that a call took."""
    function(*arguments)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def peak() -> float:
    """Return the operations a second that NumPy's matrix product reaches on one core."""
    matrix = np.ones((1024, 1024), np.float32)
    with threadpool_limits(1):
        return 2 * 1024**3 / fastest(np.matmul, matrix, matrix, repeats=PEAK_REPEATS)


def kernels_of(layout: Layout) -> list[tuple[str, int, Callable[..., None], np.record]]:
    """List a network's kernels: name, operations for a minibatch, function, what it takes first."""
    layers = list(enumerate(layout.plan))
    forward = [forward_kernel(number, layer) for number, layer in layers]
    backward = [backward_kernel(number, layer) for number, layer in reversed(layers) if has_backward(layer)]
    work = sum(2 * IMAGES * int(layer["channels"] * layer["units"]) for _, layer in layers if layer["is_dense"])
    return [*forward, *backward, ("update", work, _update, layout.plan)]


def forward_kernel(number: int, layer: np.record) -> tuple[str, int, Callable[..., None], np.record]:
    """Describe the way forward through a layer."""
    if layer["is_dense"]:
        return f"dense {number} forward", products(layer), _dense_forward, layer
    places = int((layer["rows"] - layer["filter_rows"] + 1) * (layer["columns"] - layer["filter_columns"] + 1))
    return f"convolution {number} forward", products(layer) * places, _convolutions_forward, layer


def backward_kernel(number: int, layer: np.record) -> tuple[str, int, Callable[..., None], np.record]:
    """Describe the way back: the gradient of the inputs; in a convolution, that of the filters too."""
    if layer["is_dense"]:
        return f"dense {number} backward", products(layer), _dense_backward, layer
    work = products(layer) * int(layer["output_rows"] * layer["output_columns"])
    return f"convolution {number} backward", work if layer["is_first"] else 2 * work, _convolutions_backward, layer


def has_backward(layer: np.record) -> bool:
    """Tell whether there is a way back: nobody needs the gradient of the images, and the update does dense filters."""
    return not (layer["is_dense"] and layer["is_first"])


def products(layer: np.record) -> int:
    """Count the operations, multiplications and additions, of a minibatch in one place of a layer."""
    inputs = int(layer["filter_rows"] * layer["filter_columns"] * layer["channels"])
    return 2 * IMAGES * inputs * int(layer["units"])


def measure(name: str) -> list[dict[str, Any]]:
    """Time each kernel that a network uses, and print a line for each."""
    architecture, _ = declared(name)
    network = Network.from_json(architecture)
    layout = Layout.of(network, IMAGES)
    parameters, buffers = layout.parameters(), layout.buffers()
    put_weights(network, layout, weights.draw(network, 42), parameters)
    buffers.activations[:] = np.random.default_rng(0).normal(size=buffers.activations.shape)
    top, timed = 0.0, []
    for label, work, function, layer in kernels_of(layout):
        if "backward" in label:
            buffers.signals[layer["output"] :][: IMAGES * layer["output_size"]] = 1e-3
        top = max(top, peak())
        timed.append((label, work, fastest(function, layer, parameters, buffers, IMAGES)))
    rows = [
        {"kernel": label, "seconds": seconds, "flops": work / seconds, "share": work / seconds / top}
        for label, work, seconds in timed
    ]
    work, seconds = (sum(kernel[place] for kernel in timed) for place in (1, 2))
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
