"""A network as the kernels see it: a table of its layers, and where the numbers of each layer lie.

All numbers of one kind lie in one flat array, at the offsets that the table gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.engines.numba.compiler import for_python_too
from pipeline.engines.numba.vectors import LANES
from pipeline.errors import EngineError
from pipeline.networks import arrays
from pipeline.networks.arrays import ByteArray, DoubleArray, FloatArray, IntArray
from pipeline.networks.declaration import NamedLayer, Network
from pipeline.networks.layers import Conv2DLayer, MaxPool2DLayer, linear, rectify, softmax
from pipeline.networks.weights import Weights

Plan = npt.NDArray[np.void]

IMAGES_PER_PART = 8
"""Images that one thread takes at a time, as many as a product has rows; a convolution's gradient is the sum over the
parts, in order. Fewer would leave more threads something to do, and take longer for each image.
"""


@for_python_too
def parts_of(images: int) -> int:
    """Return how many parts a minibatch of so many images is cut into."""
    return -(-images // IMAGES_PER_PART)


SETS_OF_WINNERS = 2**4
"""How many sets of the four positions of a pooling window there are."""

LAYER = np.dtype(
    [
        (field, np.int64)
        for field in (
            # What comes in: an image, or, for a dense layer, one row of one column.
            "channels",
            "rows",
            "columns",
            # What the layer is.
            "is_dense",
            "is_first",
            "is_rectified",
            "is_pooled",
            "filter_rows",
            "filter_columns",
            "units",
            "width",
            # What goes out: `width` channels, of which `units` are real, in this many places.
            "output_rows",
            "output_columns",
            # Where it lies: in the arrays of `Buffers`, with so many values for each image,
            "input",
            "input_size",
            "output",
            "output_size",
            # in the arrays of `Parameters`,
            "weights",
            "transposed",
            "biases",
            # and, for a convolution, in a part's row of `Buffers.gradients` and in tables of `Buffers`.
            "gradient",
            "tap_places",
            "winner_places",
        )
    ],
    align=True,
)
"""A layer's row of the table; pooling belongs to the convolution before it."""


class Parameters(NamedTuple):
    """A network's weights, laid out for the kernels.

    A dense layer's weights are ``(inputs, width)``, a convolution's ``(units, taps)``, where the taps are
    ``(filter rows, filter columns, channels)``, in the order in which they meet the image: flipped.
    Biases are ``(width,)``.
    """

    weights: FloatArray
    """Weights and biases; training adjusts these."""
    velocities: FloatArray
    """Nesterov momentum's v, laid out as `weights`."""
    transposed: FloatArray
    """The weights once more, rows as columns: a layer needs the one forward, the other backward.

    Not kept up to date for a first dense layer, which nothing goes back through.
    """


class Buffers(NamedTuple):
    """What the kernels remember of the images of a minibatch between forward and backward, and their tables.

    The first four hold, layer after layer, ``(images, size)``; the next layer's input is this one's output.
    """

    activations: FloatArray
    slopes: FloatArray
    """Slope of the nonlinearity at each activation."""
    signals: FloatArray
    """Gradient of the loss with respect to each activation."""
    winners: ByteArray
    """Which of the four values of a pooling window are its maximum: a bit for each, none where one is nan.

    1 where nothing is pooled.
    """
    gradients: FloatArray
    """Gradients of the convolutions' weights and biases, a row for each part of the minibatch."""
    losses: DoubleArray
    """Loss of each image."""
    tap_places: IntArray
    """For each tap of a filter: how many places after the first tap's value lies the value that it meets."""
    winner_places: IntArray
    """For each of 16 sets of winners: how many places after its window's first value lies the first winner."""
    zeros: FloatArray
    """What a sum without biases begins with; as many as any layer has inputs or outputs in a place."""


@dataclass(frozen=True)
class Layout:
    """The table of a network's layers, with the sizes of the arrays into which its offsets point."""

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
            The kernels do not have a layer of this network.
        """
        rows: list[np.void] = []
        parameters = transposed = activations = gradients = taps = winners = 0
        size = _padded(math.prod(network.input_shape))
        for entry, is_pooled in _computing_layers(network):
            layer = _described(entry, is_pooled, size, is_first=not rows)
            inputs = layer["filter_rows"] * layer["filter_columns"] * layer["channels"]
            layer["input"] = activations
            layer["input_size"] = size + _gap(size) if layer["is_first"] and layer["is_dense"] else size
            activations += images * int(layer["input_size"])
            size = int(layer["output_rows"] * layer["output_columns"] * layer["width"])
            layer["output"], layer["output_size"] = activations, size
            layer["weights"], layer["transposed"] = parameters, transposed
            parameters += _padded(int(inputs * (layer["width"] if layer["is_dense"] else layer["units"])))
            layer["biases"] = parameters
            parameters += int(layer["width"])
            transposed += int(inputs * layer["width"])
            layer["gradient"] = gradients
            if not layer["is_dense"]:
                gradients += _padded(int(inputs * layer["units"] + layer["width"]))
                layer["tap_places"], layer["winner_places"] = taps, winners
                taps += int(inputs)
                winners += SETS_OF_WINNERS
            rows.append(layer)
        return cls(np.array(rows, LAYER), images, parameters, transposed, activations + images * size, gradients)

    @property
    def classes(self) -> int:
        """How many classes the output layer tells apart."""
        return int(self.plan[-1]["units"])

    def parameters(self) -> Parameters:
        """Return arrays for the weights, all zero."""
        return Parameters(
            arrays.zeros((self.parameter_count,), np.float32),
            arrays.zeros((self.parameter_count,), np.float32),
            arrays.zeros((self.transposed_count,), np.float32),
        )

    def buffers(self) -> Buffers:
        """Return arrays for what the kernels remember, without content."""
        winners = arrays.zeros((self.activation_count,), np.uint8)
        winners[:] = 1
        return Buffers(
            arrays.zeros((self.activation_count,), np.float32),
            arrays.zeros((self.activation_count,), np.float32),
            arrays.zeros((self.activation_count,), np.float32),
            winners,
            arrays.zeros((parts_of(self.images), self.gradient_count), np.float32),
            np.zeros(self.images),
            np.concatenate([_tap_places(layer) for layer in self.plan]),
            np.concatenate([_winner_places(layer) for layer in self.plan]),
            arrays.zeros((max(self.plan["width"].max(), self.plan["channels"].max()),), np.float32),
        )


def put_weights(network: Network, layout: Layout, weights: Weights, parameters: Parameters) -> None:
    """Copy weights, as a weights file has them, to where the kernels look for them."""
    _put(network, layout, weights, parameters.weights)
    for layer in layout.plan:
        kept = _matrix(layer, parameters.weights)
        _transposed(layer, parameters)[:, : len(kept)] = kept.T


def get_weights(network: Network, layout: Layout, parameters: Parameters) -> Weights:
    """Return a copy of the kernels' weights, as a weights file has them."""
    return _get(network, layout, parameters.weights)


def put_velocity(network: Network, layout: Layout, velocity: Weights, parameters: Parameters) -> None:
    """Copy the velocity of each weight, under the weights' names, to where the kernels look for it."""
    _put(network, layout, velocity, parameters.velocities)


def get_velocity(network: Network, layout: Layout, parameters: Parameters) -> Weights:
    """Return a copy of the velocity of each weight, likewise."""
    return _get(network, layout, parameters.velocities)


def _put(network: Network, layout: Layout, named: Weights, flat: FloatArray) -> None:
    for (entry, _), layer in zip(_computing_layers(network), layout.plan, strict=True):
        matrix, biases = _declared_views(entry, layer, flat)
        matrix[...] = named[f"{entry.name}/W"].reshape(matrix.shape)
        biases[...] = named[f"{entry.name}/b"]


def _get(network: Network, layout: Layout, flat: FloatArray) -> Weights:
    named = {}
    for (entry, _), layer in zip(_computing_layers(network), layout.plan, strict=True):
        matrix, biases = _declared_views(entry, layer, flat)
        named[f"{entry.name}/W"] = matrix.reshape(network.weight_shapes[f"{entry.name}/W"]).copy()
        named[f"{entry.name}/b"] = biases.copy()
    return named


def _declared_views(entry: NamedLayer, layer: np.void, flat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """View a layer's weights and biases, or their velocities, with the axes that a declaration gives them.

    The weights of a dense layer that sees an image keep its axes apart: ``(channels, rows, columns, units)``.
    """
    matrix = _matrix(layer, flat)
    units = int(layer["units"])
    if not layer["is_dense"]:
        channels = entry.input_shape[0]
        taps = matrix.reshape(units, layer["filter_rows"], layer["filter_columns"], layer["channels"])
        view = taps[:, ::-1, ::-1, :channels].transpose(0, 3, 1, 2)
    elif len(entry.input_shape) == 3 and not layer["is_first"]:
        channels, rows, columns = entry.input_shape
        view = matrix.reshape(rows, columns, -1, layer["width"])[:, :, :channels, :units].transpose(2, 0, 1, 3)
    else:
        view = matrix[: math.prod(entry.input_shape), :units]
    return view, flat[layer["biases"] :][:units]


def _matrix(layer: np.void, weights: FloatArray) -> FloatArray:
    """View a layer's weights: ``(inputs, width)`` of a dense layer, ``(units, taps)`` of a convolution."""
    inputs = int(layer["filter_rows"] * layer["filter_columns"] * layer["channels"])
    shape = (inputs, int(layer["width"])) if layer["is_dense"] else (int(layer["units"]), inputs)
    return weights[layer["weights"] :][: math.prod(shape)].reshape(shape)


def _transposed(layer: np.void, parameters: Parameters) -> FloatArray:
    """View a layer's transposed weights: ``(width, inputs)`` of a dense layer, ``(taps, width)`` of a convolution."""
    inputs = int(layer["filter_rows"] * layer["filter_columns"] * layer["channels"])
    width = int(layer["width"])
    shape = (width, inputs) if layer["is_dense"] else (inputs, width)
    return parameters.transposed[layer["transposed"] :][: inputs * width].reshape(shape)


def _described(entry: NamedLayer, is_pooled: bool, size: int, *, is_first: bool) -> np.void:
    """Describe a layer by itself, without where its numbers lie; ``size`` values of each image come in."""
    described = np.zeros((), LAYER)
    described["units"] = entry.output_shape[0]
    described["width"] = _padded(entry.output_shape[0])
    described["is_rectified"] = getattr(entry.layer, "nonlinearity", None) == rectify
    described["is_pooled"] = is_pooled
    described["is_first"] = is_first
    sizes = ("channels", "rows", "columns", "filter_rows", "filter_columns", "output_rows", "output_columns")
    if isinstance(entry.layer, Conv2DLayer):
        channels, *incoming = entry.input_shape
        outgoing = [extent // 2 for extent in entry.output_shape[1:]] if is_pooled else entry.output_shape[1:]
        values = (channels if is_first else _padded(channels), *incoming, *entry.layer.filter_size, *outgoing)
    else:
        described["is_dense"] = True
        values = (size, 1, 1, 1, 1, 1, 1)
    for name, value in zip(sizes, values, strict=True):
        described[name] = value
    row: np.void = described[()]  # type: ignore[assignment]
    return row


def _tap_places(layer: np.void) -> IntArray:
    """Return a convolution's part of `Buffers.tap_places`; a dense layer has none."""
    if layer["is_dense"]:
        return np.empty(0, np.int64)
    rows = np.arange(layer["filter_rows"]) * layer["columns"] * layer["channels"]
    places: IntArray = np.add.outer(rows, np.arange(layer["filter_columns"] * layer["channels"])).ravel()
    return places


def _winner_places(layer: np.void) -> IntArray:
    """Return a convolution's part of `Buffers.winner_places`; a dense layer has none."""
    if layer["is_dense"]:
        return np.empty(0, np.int64)
    line = layer["columns"] * layer["channels"]
    positions = (0, layer["channels"], line, line + layer["channels"])
    firsts = [(winners & -winners).bit_length() - 1 for winners in range(1, SETS_OF_WINNERS)]
    return np.array([0, *(positions[first] for first in firsts)], np.int64)


def _computing_layers(network: Network) -> list[tuple[NamedLayer, bool]]:
    """Return the layers that have weights, each with whether pooling follows it.

    Raises
    ------
    EngineError
        The kernels do not have one of the layers.
    """
    layers: list[tuple[NamedLayer, bool]] = []
    for entry in network.layers[1:]:
        reason = _refusal(entry, after_convolution=bool(layers) and _is_unpooled_convolution(*layers[-1]))
        if reason:
            raise EngineError(
                f"layer {entry.name!r}: the numba engine has no {reason}. Train this network with --engine torch."
            )
        if isinstance(entry.layer, MaxPool2DLayer):
            layers[-1] = (layers[-1][0], True)
        else:
            layers.append((entry, False))
    return layers


def _refusal(entry: NamedLayer, *, after_convolution: bool) -> str | None:
    """Name what the kernels lack for a layer, or return None where they lack nothing."""
    layer = entry.layer
    if isinstance(layer, MaxPool2DLayer):
        if layer.pool_size != (2, 2) or layer.stride not in (None, (2, 2)):
            return f"pooling with pool_size {layer.pool_size} and stride {layer.stride}, only 2x2 with stride 2"
        return None if after_convolution else "pooling except right after a convolution"
    if isinstance(layer, Conv2DLayer) and (layer.stride != (1, 1) or layer.pad != (0, 0)):
        return f"convolution with stride {layer.stride} and pad {layer.pad}, only with stride 1 and without padding"
    nonlinearity = getattr(layer, "nonlinearity", linear)
    if nonlinearity not in (linear, rectify, softmax):
        return f"nonlinearity {nonlinearity}, only rectify and linear, and softmax at the end"
    return None


def _is_unpooled_convolution(entry: NamedLayer, is_pooled: bool) -> bool:
    return isinstance(entry.layer, Conv2DLayer) and not is_pooled


def _gap(size: int) -> int:
    """Return how many values to leave out between one image and the next, which are read side by side.

    Values that lie a multiple of 4,096 bytes apart share a place in a processor's first cache. With those of the MLP's
    images, the gradient of its weights would take a fifth longer.
    """
    return LANES if size % 1024 == 0 else 0


def _padded(size: int) -> int:
    return -(-size // LANES) * LANES
