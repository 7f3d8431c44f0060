"""A network as the kernels see it: a table of its layers, and flat arrays that hold the numbers of all layers.

The table gives the offset of each layer in each array.
"""

from __future__ import annotations

import math
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
from pipeline.networks.weights import Weights

Plan = npt.NDArray[np.void]

IMAGES_PER_CHUNK = 8
"""Images that one thread takes at a time, as many as `products.multiply_eight_rows` takes.

Smaller chunks would occupy more threads but take longer for each image (bench/training.py).
"""


@for_python_too
def chunk_count(images: int) -> int:
    """Return the number of chunks in a minibatch."""
    return -(-images // IMAGES_PER_CHUNK)


MASKS = 2**4
"""Number of masks of maxima: a bit for each of the four positions in a pooling window."""

LAYER = np.dtype(
    [
        (field, np.int64)
        for field in (
            # The input: an image, or, for a dense layer, one row of one column.
            "channels",
            "rows",
            "columns",
            # The layer: a unit is a neuron or a filter, `fan_in` the number of its weights.
            "is_dense",
            "is_first",
            "is_rectified",
            "is_pooled",
            "filter_rows",
            "filter_columns",
            "fan_in",
            "units",
            "padded_units",
            # The output, with `padded_units` channels.
            "output_rows",
            "output_columns",
            # Offsets in the arrays of `Buffers`, and the number of values for each image.
            "input",
            "input_size",
            "output",
            "output_size",
            # Offsets in the arrays of `Parameters`.
            "weights",
            "transposed",
            "biases",
            # Offsets of a convolution in a row of `Buffers.chunk_gradients` and in the tables of `Buffers`.
            "gradient",
            "filter_offsets",
            "maximum_offsets",
        )
    ],
    align=True,
)
"""A row of the table; pooling belongs to the convolution before it."""


class Parameters(NamedTuple):
    """A network's weights, laid out for the kernels.

    A dense layer's weights are ``(fan_in, padded_units)``. A convolution's are ``(units, fan_in)``, and each filter is
    ``(filter rows, filter columns, channels)``, flipped, in the order of the inputs. Biases are ``(padded_units,)``.
    """

    weights: FloatArray
    """Weights and biases; training adjusts them."""
    velocities: FloatArray
    """The v of Nesterov momentum, laid out like `weights`."""
    transposed: FloatArray
    """The transposed weights: the forward pass of a layer reads one layout, the backward pass the other.

    Out of date for a first dense layer, which has no backward pass.
    """


class Buffers(NamedTuple):
    """Values that the forward pass keeps for the backward pass, and tables of offsets.

    The first four arrays hold ``(images, size)`` for each layer; a layer's output is the next layer's input.
    """

    activations: FloatArray
    slopes: FloatArray
    """Slope of the nonlinearity at each activation."""
    output_gradients: FloatArray
    """Gradient of the loss with respect to each activation."""
    masks: ByteArray
    """Masks of maxima: which of a pooling window's four values equal the maximum; none if one is nan.

    1 without pooling.
    """
    chunk_gradients: FloatArray
    """Gradients of the convolutions' weights and biases, a row for each chunk of the minibatch."""
    losses: DoubleArray
    """Loss of each image."""
    filter_offsets: IntArray
    """For each weight of a filter: the offset of its input from the input of the filter's first weight."""
    maximum_offsets: IntArray
    """For each mask of maxima: the offset of the first maximum from the window's first value."""
    zeros: FloatArray
    """Initial values of sums without biases, at least as many as any matrix has columns."""


@dataclass(frozen=True)
class Layout:
    """A network's table of layers, and the sizes of its arrays."""

    network: Network
    plan: Plan
    images: int
    parameter_count: int
    transposed_count: int
    activation_count: int
    gradient_count: int

    @classmethod
    def of(cls, network: Network, images: int) -> Layout:
        """Lay out a network for up to ``images`` images at a time.

        Raises
        ------
        EngineError
            The kernels lack a layer of this network.
        """
        rows: list[np.void] = []
        parameters = transposed = activations = gradients = filters = maxima = 0
        size = _padded(math.prod(network.input_shape))
        for entry, is_pooled in weighted_layers(network, "numba"):
            layer = _described(entry, is_pooled, size, is_first=not rows)
            layer["input"] = activations
            layer["input_size"] = size + _gap(size) if layer["is_first"] and layer["is_dense"] else size
            activations += images * int(layer["input_size"])
            size = int(layer["output_rows"] * layer["output_columns"] * layer["padded_units"])
            layer["output"], layer["output_size"] = activations, size
            layer["weights"], layer["transposed"] = parameters, transposed
            parameters += _padded(math.prod(_matrix_shape(layer)))
            layer["biases"] = parameters
            parameters += int(layer["padded_units"])
            transposed += int(layer["fan_in"] * layer["padded_units"])
            layer["gradient"] = gradients
            if not layer["is_dense"]:
                gradients += _padded(int(layer["fan_in"] * layer["units"] + layer["padded_units"]))
                layer["filter_offsets"], layer["maximum_offsets"] = filters, maxima
                filters += int(layer["fan_in"])
                maxima += MASKS
            rows.append(layer)
        plan = np.array(rows, LAYER)
        return cls(network, plan, images, parameters, transposed, activations + images * size, gradients)

    @property
    def classes(self) -> int:
        """Number of units of the output layer."""
        return int(self.plan[-1]["units"])

    def parameters(self) -> Parameters:
        """Return arrays for the weights, all zero."""
        return Parameters(
            arrays.zeros((self.parameter_count,), np.float32),
            arrays.zeros((self.parameter_count,), np.float32),
            arrays.zeros((self.transposed_count,), np.float32),
        )

    def buffers(self) -> Buffers:
        """Return the buffers, with tables of offsets and otherwise empty."""
        masks = arrays.zeros((self.activation_count,), np.uint8)
        masks[:] = 1
        return Buffers(
            arrays.zeros((self.activation_count,), np.float32),
            arrays.zeros((self.activation_count,), np.float32),
            arrays.zeros((self.activation_count,), np.float32),
            masks,
            arrays.zeros((chunk_count(self.images), self.gradient_count), np.float32),
            np.zeros(self.images),
            np.concatenate([_filter_offsets(layer) for layer in self.plan]),
            np.concatenate([_maximum_offsets(layer) for layer in self.plan]),
            arrays.zeros((max(self.plan["padded_units"].max(), self.plan["channels"].max()),), np.float32),
        )


def put_weights(layout: Layout, weights: Weights, parameters: Parameters) -> None:
    """Copy weights, by their names and in their declared shapes, into the kernels' arrays."""
    _put(layout, weights, parameters.weights)
    for layer in layout.plan:
        matrix = _matrix(layer, parameters.weights)
        _transposed(layer, parameters)[:, : len(matrix)] = matrix.T


def get_weights(layout: Layout, parameters: Parameters) -> Weights:
    """Return a copy of the kernels' weights, by their names and in their declared shapes."""
    return _get(layout, parameters.weights)


def put_velocity(layout: Layout, velocity: Weights, parameters: Parameters) -> None:
    """Copy the velocity of each weight into the kernels' arrays."""
    _put(layout, velocity, parameters.velocities)


def get_velocity(layout: Layout, parameters: Parameters) -> Weights:
    """Return a copy of the velocity of each weight, by the weights' names and in their declared shapes."""
    return _get(layout, parameters.velocities)


def _put(layout: Layout, named: Weights, flat: FloatArray) -> None:
    for (entry, _), layer in zip(weighted_layers(layout.network, "numba"), layout.plan, strict=True):
        matrix, biases = _declared_views(entry, layer, flat)
        matrix[...] = named[f"{entry.name}/W"].reshape(matrix.shape)
        biases[...] = named[f"{entry.name}/b"]


def _get(layout: Layout, flat: FloatArray) -> Weights:
    named = {}
    for (entry, _), layer in zip(weighted_layers(layout.network, "numba"), layout.plan, strict=True):
        matrix, biases = _declared_views(entry, layer, flat)
        named[f"{entry.name}/W"] = matrix.reshape(layout.network.weight_shapes[f"{entry.name}/W"]).copy()
        named[f"{entry.name}/b"] = biases.copy()
    return named


def _declared_views(entry: NamedLayer, layer: np.void, flat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """View a layer's weights and biases, or their velocities, with the axes in their declared order.

    The weights of a dense layer behind images have an axis for each axis of the images: ``(channels, rows, columns,
    units)``.
    """
    matrix = _matrix(layer, flat)
    units = int(layer["units"])
    if not layer["is_dense"]:
        channels = entry.input_shape[0]
        filters = matrix.reshape(units, layer["filter_rows"], layer["filter_columns"], layer["channels"])
        view = filters[:, ::-1, ::-1, :channels].transpose(0, 3, 1, 2)
    elif len(entry.input_shape) == 3 and not layer["is_first"]:
        channels, rows, columns = entry.input_shape
        view = matrix.reshape(rows, columns, -1, layer["padded_units"])[:, :, :channels, :units].transpose(2, 0, 1, 3)
    else:
        view = matrix[: math.prod(entry.input_shape), :units]
    return view, flat[layer["biases"] :][:units]


def _matrix_shape(layer: np.void) -> tuple[int, int]:
    """Return the shape of a layer's weights, as in `Parameters`."""
    fan_in = int(layer["fan_in"])
    return (fan_in, int(layer["padded_units"])) if layer["is_dense"] else (int(layer["units"]), fan_in)


def _matrix(layer: np.void, weights: FloatArray) -> FloatArray:
    shape = _matrix_shape(layer)
    return weights[layer["weights"] :][: math.prod(shape)].reshape(shape)


def _transposed(layer: np.void, parameters: Parameters) -> FloatArray:
    """View a layer's transposed weights, with padded units for a convolution too."""
    fan_in, units = int(layer["fan_in"]), int(layer["padded_units"])
    shape = (units, fan_in) if layer["is_dense"] else (fan_in, units)
    return parameters.transposed[layer["transposed"] :][: fan_in * units].reshape(shape)


def _described(entry: NamedLayer, is_pooled: bool, size: int, *, is_first: bool) -> np.void:
    """Return a layer's row without offsets; ``size`` is the number of its inputs from each image."""
    row = np.zeros((), LAYER)
    row["units"] = entry.output_shape[0]
    row["padded_units"] = _padded(entry.output_shape[0])
    row["is_rectified"] = getattr(entry.layer, "nonlinearity", None) == rectify
    row["is_pooled"] = is_pooled
    row["is_first"] = is_first
    sizes = ("channels", "rows", "columns", "filter_rows", "filter_columns", "output_rows", "output_columns")
    if isinstance(entry.layer, Conv2DLayer):
        channels, *incoming = entry.input_shape
        outgoing = [extent // 2 for extent in entry.output_shape[1:]] if is_pooled else entry.output_shape[1:]
        values = (channels if is_first else _padded(channels), *incoming, *entry.layer.filter_size, *outgoing)
    else:
        row["is_dense"] = True
        values = (size, 1, 1, 1, 1, 1, 1)
    for name, value in zip(sizes, values, strict=True):
        row[name] = value
    row["fan_in"] = row["filter_rows"] * row["filter_columns"] * row["channels"]
    described: np.void = row[()]  # type: ignore[assignment]
    return described


def _filter_offsets(layer: np.void) -> IntArray:
    """Return a convolution's `Buffers.filter_offsets`; a dense layer has none."""
    if layer["is_dense"]:
        return np.empty(0, np.int64)
    rows = np.arange(layer["filter_rows"]) * layer["columns"] * layer["channels"]
    offsets: IntArray = np.add.outer(rows, np.arange(layer["filter_columns"] * layer["channels"])).ravel()
    return offsets


def _maximum_offsets(layer: np.void) -> IntArray:
    """Return a convolution's `Buffers.maximum_offsets`; a dense layer has none."""
    if layer["is_dense"]:
        return np.empty(0, np.int64)
    row_stride = layer["columns"] * layer["channels"]
    positions = (0, layer["channels"], row_stride, row_stride + layer["channels"])
    firsts = [(mask & -mask).bit_length() - 1 for mask in range(1, MASKS)]
    return np.array([0, *(positions[first] for first in firsts)], np.int64)


def _gap(size: int) -> int:
    """Return the number of values to skip between the images of a first dense layer.

    The update reads the same pixel of all images. Values whose addresses differ by a multiple of 4,096 bytes compete
    for the same lines of a processor's first cache: without a gap the update of the article's MLP takes a fifth longer
    (bench/kernels.py).
    """
    return LANES if size % 1024 == 0 else 0


def _padded(size: int) -> int:
    return -(-size // LANES) * LANES
