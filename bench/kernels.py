"""Share of the processor's peak that each kernel of the ``numba`` engine reaches, on one core.

The peak is what NumPy's matrix product reaches on two matrices of 1,024 x 1,024. A kernel's arithmetic is
counted as what the layer does, without the channels that only fill up vectors; of the way back through a
pooled convolution, which visits one place in four, only a quarter is counted.

Run it with ``python bench/kernels.py [NETWORK]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

from pipeline import weights
from pipeline.declaration import Network
from pipeline.kernels import convolution, dense, schedule, updates
from pipeline.kernels.plan import IMAGES_PER_PART, Layout, put_weights
from pipeline.networks import declared

IMAGES = 128
REPEATS = 100


@njit(error_model="numpy")
def _convolutions_forward(layer, parameters, buffers, images):
    sums = np.empty(4 * layer.output_columns * layer.width, np.float32)
    for image in range(images):
        convolution.convolution_forward(layer, parameters, buffers, image, sums)


@njit(error_model="numpy")
def _convolutions_backward(layer, parameters, buffers, images):
    places = layer.rows * layer.columns
    spread = np.empty(layer.output_size, np.float32)
    sums = np.zeros((layer.filter_rows * layer.filter_columns * layer.channels + 4) * layer.width, np.float32)
    hit_places, hit_signals = np.empty(places + 1, np.int64), np.empty(places + 1, np.float32)
    gradients = buffers.gradients[0, layer.gradient :]
    for image in range(images):
        if layer.is_first:
            convolution.first_convolution_backward(layer, buffers, image, sums, spread)
        else:
            convolution.convolution_backward(layer, parameters, buffers, image, gradients, hit_places, hit_signals)


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


def fastest(function: Callable[..., None], *arguments: object) -> float:
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


def main(name: str) -> None:
    """Print a line for each kernel that a network uses."""
    architecture, _ = declared(name)
    network = Network.from_json(architecture)
    layout = Layout.of(network, IMAGES)
    parameters, buffers = layout.parameters(), layout.buffers()
    put_weights(network, layout, weights.draw(network, 42), parameters)
    generator = np.random.default_rng(0)
    buffers.activations[:] = generator.normal(size=buffers.activations.shape)
    top = peak()
    print(f"{'peak of one core':30} {top / 1e9:8.1f} GFLOP/s")
    rows = []
    for number, layer in enumerate(layout.plan):
        inputs = int(layer["filter_rows"] * layer["filter_columns"] * layer["channels"])
        if layer["is_dense"]:
            work = 2 * IMAGES * inputs * int(layer["units"])
            rows.append((f"dense {number} forward", work, _dense_forward, layer))
        else:
            places = int((layer["rows"] - layer["filter_rows"] + 1) * (layer["columns"] - layer["filter_columns"] + 1))
            work = 2 * IMAGES * inputs * int(layer["units"]) * places
            rows.append((f"convolution {number} forward", work, _convolutions_forward, layer))
    for number, layer in reversed(list(enumerate(layout.plan))):
        inputs = int(layer["filter_rows"] * layer["filter_columns"] * layer["channels"])
        if layer["is_dense"]:
            if not layer["is_first"]:
                work = 2 * IMAGES * inputs * int(layer["units"])
                rows.append((f"dense {number} backward", work, _dense_backward, layer))
        else:
            places = int(layer["output_rows"] * layer["output_columns"])
            work = (2 if layer["is_first"] else 4) * IMAGES * inputs * int(layer["units"]) * places
            rows.append((f"convolution {number} backward", work, _convolutions_backward, layer))
    work = sum(2 * IMAGES * int(row["channels"] * row["units"]) for row in layout.plan if row["is_dense"])
    rows.append(("update", work, _update, layout.plan))
    total = 0.0
    for label, work, function, layer in rows:
        if "backward" in label:
            buffers.signals[layer["output"] :][: IMAGES * layer["output_size"]] = 1e-3
        seconds = fastest(function, layer, parameters, buffers, IMAGES)
        total += seconds
        print(f"{label:30} {1e6 * seconds:8.0f} us {work / seconds / 1e9:8.1f} GFLOP/s {work / seconds / top:6.0%}")
    print(f"{'a minibatch of 128':30} {1e6 * total:8.0f} us")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cnn")
