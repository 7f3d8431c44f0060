"""A network as the kernels see it: a table of its layers, and flat arrays that hold the numbers of all layers.

The table gives the offset of each layer in each array; `views` has the numbers of a layer and an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.engines.fused import weighted_layers
from pipeline.engines.numba.compiler import for_python_too
from pipeline.engines.numba.intrinsics import LANES
from pipeline.networks import arrays
from pipeline.networks.arrays import ByteArray, DoubleArray, FloatArray, IntArray
from pipeline.networks.declaration import NamedLayer, Network
from pipeline.networks.layers import Conv2DLayer, rectify

Plan = npt.NDArray[np.void]
Row = dict[str, int]

IMAGES_PER_CHUNK = 8
"""Images that one thread takes at a time, as many as `products.multiply_eight_rows` takes.

Smaller chunks would occupy more threads but take longer for each image (bench/training.py).
"""

AT_ZERO = 16
"""The bit of a mask that says that the output was exactly 0 before the rectifier, where its slope is one half."""

TILE = 4 + 4 + 9
"""Numbers of a tile of 3x3 weights in `Memory.tiles`."""

LAYER = np.dtype(
    [
        (field, np.int64)
        for field in (
            # The input: an image of `columns` columns, or, for a dense layer, one pixel.
            "channels",
            "columns",
            # The layer: a unit is a neuron or a filter, `fan_in` the number of its weights.
            "is_dense",
            "is_first",
            "is_rectified",
            "is_pooled",
            "feeds_dense",
            "filter_rows",
            "filter_columns",
            "fan_in",
            "units",
            "padded_units",
            # The output, with `padded_units` channels; a window is a pooling window, or without pooling a pixel.
            "windows",
            # Offsets in the arrays of `Memory`, and the number of values for each image.
            "input",
            "input_size",
            "output",
            "output_size",
            # Offsets in the arrays of `Memory`.
            "weights",
            "biases",
            # Offsets of a convolution in a row of `Memory.chunk_gradients` and in the tables of `Memory`.
            "gradient",
            "filter_offsets",
            "window_offsets",
        )
    ],
    align=True,
)
"""A row of the table; pooling belongs to the convolution before it."""


class Memory(NamedTuple):
    """The numbers of all layers, and tables of offsets.

    Training adjusts the weights in the order in which it computes their gradient: ``(padded_units, fan_in)``, by unit,
    for a convolution behind the first layer, else ``(fan_in, padded_units)``. `transposed` is a copy in the other
    order. A filter is ``(filter rows, filter columns, channels)``, flipped, in the order of the inputs. Biases are
    ``(padded_units,)``, those of padded units with a rectifier -1.

    Activations, output gradients and masks are ``(images, size)`` for each layer; a layer's output is the next layer's
    input. The inputs and outputs of dense layers are those of a whole minibatch, because the update needs them. Those
    of convolutions are only needed until their chunk is done, so each thread has memory for one chunk, which stays in
    its core's cache.
    """

    weights: FloatArray
    """Weights and biases; training adjusts them."""
    velocities: FloatArray
    """The v of Nesterov momentum, laid out like `weights`."""
    transposed: FloatArray
    """The same weights in the other order, at the same offsets, without those of a first layer.

    The forward pass reads the weights as ``(fan_in, padded_units)``, the backward pass as ``(padded_units, fan_in)``.
    """
    activations: FloatArray
    output_gradients: FloatArray
    """Gradient of the loss with respect to each activation."""
    masks: ByteArray
    """Masks of maxima: a bit for each of a pooling window's four values that equals the maximum; 1 without pooling.

    0 where the rectifier is closed, and, except in a linear layer without pooling, if a value is nan. With the bit
    `AT_ZERO` where the rectifier's input was 0.
    """
    chunk_gradients: FloatArray
    """A row for each chunk of the minibatch: of each convolution, the gradients of the biases, then of the weights.

    They lie in the order of `weights`. A first convolution has one more row, for the ignored weights of `tiles`.
    """
    losses: DoubleArray
    """Loss of each image."""
    filter_offsets: IntArray
    """For each weight of an inner filter: the offset of its input from the input of the filter's first weight."""
    tiles: IntArray
    """`TILE` numbers for every 3x3 weights of a channel of the first layer's filters.

    The weights meet 4x4 inputs at the four corners of a pooling window: offsets of the columns, and of the rows. Then
    the row of each weight in `chunk_gradients`; the last row if the filter has no such weight.
    """
    window_offsets: IntArray
    """For each window: the offset in the image where the filter's first weight meets the window's first corner."""
    zeros: FloatArray
    """Initial values of sums without biases, at least as many as any matrix has columns."""


@for_python_too
def chunk_count(images: int) -> int:
    """Return the number of chunks in a minibatch."""
    return -(-images // IMAGES_PER_CHUNK)


@dataclass(frozen=True)
class Layout:
    """A network's table of layers, and the sizes of its arrays."""

    network: Network
    plan: Plan
    chunks: int
    sizes: dict[str, int]

    @classmethod
    def of(cls, network: Network, images: int, threads: int) -> Layout:
        """Lay out a network for minibatches of up to ``images`` images, and for some threads.

        Raises
        ------
        EngineError
            The kernels lack a layer of this network.
        """
        # Outside of training each thread uses a chunk of the dense layers' memory, too.
        chunks = max(chunk_count(images), threads)
        sizes = dict.fromkeys(("activations", "weights", "gradients", "filters", "windows"), 0)

        def reserve(array: str, size: int) -> int:
            sizes[array] += size
            return sizes[array] - size

        rows: list[Row] = []
        size = _padded(math.prod(network.input_shape))
        for entry, is_pooled in weighted_layers(network, "numba"):
            row = _described(entry, is_pooled, size, is_first=not rows)
            row["input_size"] = size + (_gap(size) if row["is_dense"] and row["is_first"] else 0)
            if rows:
                rows[-1]["feeds_dense"] = row["is_dense"]
            copies = chunks if row["is_dense"] else threads
            row["input"] = reserve("activations", copies * IMAGES_PER_CHUNK * row["input_size"])
            size = row["windows"] * row["padded_units"]
            row["output"], row["output_size"] = sizes["activations"], size
            row["weights"] = reserve("weights", row["fan_in"] * row["padded_units"])
            row["biases"] = reserve("weights", row["padded_units"])
            if not row["is_dense"]:
                row["gradient"] = reserve("gradients", (1 + row["fan_in"] + row["is_first"]) * row["padded_units"])
                row["filter_offsets"] = reserve("filters", 0 if row["is_first"] else row["fan_in"])
                row["window_offsets"] = reserve("windows", row["windows"])
            rows.append(row)
        reserve("activations", chunks * IMAGES_PER_CHUNK * size)
        plan = np.array([tuple(row.get(name, 0) for name in LAYER.names or ()) for row in rows], LAYER)
        return cls(network, plan, chunks, sizes)

    @property
    def classes(self) -> int:
        """Number of units of the output layer."""
        return int(self.plan[-1]["units"])

    def memory(self) -> Memory:
        """Return the arrays, with tables of offsets and otherwise empty."""
        sizes = self.sizes
        masks = arrays.zeros((sizes["activations"],), np.uint8)
        masks[:] = 1  # and nobody writes those of linear layers without pooling
        convolutions = [layer for layer in self.plan if not layer["is_dense"]]
        return Memory(
            weights=_floats(sizes["weights"]),
            velocities=_floats(sizes["weights"]),
            transposed=_floats(sizes["weights"]),
            activations=_floats(sizes["activations"]),
            output_gradients=_floats(sizes["activations"]),
            masks=masks,
            chunk_gradients=arrays.zeros((self.chunks, sizes["gradients"]), np.float32),
            losses=np.zeros(self.chunks * IMAGES_PER_CHUNK),
            filter_offsets=_concatenated(_filter_offsets(layer) for layer in convolutions if not layer["is_first"]),
            tiles=_concatenated(_tiles(layer) for layer in convolutions if layer["is_first"]),
            window_offsets=_concatenated(map(_window_offsets, convolutions)),
            zeros=_floats(max(self.plan["padded_units"].max(), self.plan["channels"].max())),
        )


def _described(entry: NamedLayer, is_pooled: bool, size: int, *, is_first: bool) -> Row:
    """Return a layer's row without offsets; ``size`` is the number of its inputs from each image."""
    row = {
        "is_first": is_first,
        "is_rectified": getattr(entry.layer, "nonlinearity", None) == rectify,
        "is_pooled": is_pooled,
        "units": entry.output_shape[0],
        "padded_units": _padded(entry.output_shape[0]),
    }
    if not isinstance(entry.layer, Conv2DLayer):
        return row | {"is_dense": True, "channels": size, "columns": 1, "fan_in": size, "windows": 1}
    channels, _, columns = entry.input_shape
    channels = channels if is_first else _padded(channels)
    filter_rows, filter_columns = entry.layer.filter_size
    sizes = {"filter_rows": filter_rows, "filter_columns": filter_columns, "columns": columns}
    pool = 2 if is_pooled else 1
    windows = math.prod(extent // pool for extent in entry.output_shape[1:])
    fan_in = filter_rows * filter_columns * channels
    return row | sizes | {"is_dense": False, "channels": channels, "fan_in": fan_in, "windows": windows}


def _concatenated(tables: Iterable[IntArray]) -> IntArray:
    return np.concatenate([np.empty(0, np.int64), *tables])


def _filter_offsets(layer: np.void) -> IntArray:
    """Return a convolution's `Memory.filter_offsets`."""
    line = np.arange(layer["filter_columns"] * layer["channels"])
    offsets: IntArray = np.add.outer(np.arange(layer["filter_rows"]) * layer["columns"] * layer["channels"], line)
    return offsets.ravel()


def _tiles(layer: np.void) -> IntArray:
    """Return a first convolution's `Memory.tiles`."""
    filter_rows, filter_columns, channels = layer["filter_rows"], layer["filter_columns"], layer["channels"]
    beyond = 1 if layer["is_pooled"] else 0
    tiles = []
    for row, column, channel in np.ndindex(-(-filter_rows // 3), -(-filter_columns // 3), channels):
        rows, columns = 3 * row + np.arange(4), 3 * column + np.arange(4)
        # Inputs that no weight meets may lie outside of the image.
        tiles.append(np.minimum(columns, filter_columns - 1 + beyond) * channels + channel)
        tiles.append(np.minimum(rows, filter_rows - 1 + beyond) * layer["columns"] * channels)
        row_of_weight, column_of_weight = np.meshgrid(rows[:3], columns[:3], indexing="ij")
        number = 1 + (row_of_weight * filter_columns + column_of_weight) * channels + channel
        exists = (row_of_weight < filter_rows) & (column_of_weight < filter_columns)
        tiles.append(np.where(exists, number, 1 + layer["fan_in"]).ravel())
    return _concatenated(tiles)


def _window_offsets(layer: np.void) -> IntArray:
    """Return a convolution's `Memory.window_offsets`."""
    pool = 2 if layer["is_pooled"] else 1
    per_row = (layer["columns"] - layer["filter_columns"] + 1) // pool
    rows, columns = np.divmod(np.arange(layer["windows"]), per_row)
    offsets: IntArray = (rows * layer["columns"] + columns) * pool * layer["channels"]
    return offsets


def _gap(size: int) -> int:
    """Return the number of values to skip between the images of a first dense layer.

    The update reads the same pixel of all images. Values whose addresses differ by a multiple of 4,096 bytes compete
    for the same lines of a processor's first cache: without a gap the update of the article's MLP takes a fifth longer
    (bench/kernels.py).
    """
    return LANES if size % 1024 == 0 else 0


def _floats(size: int) -> FloatArray:
    zeros: FloatArray = arrays.zeros((size,), np.float32)
    return zeros


def _padded(size: int) -> int:
    return -(-size // LANES) * LANES
