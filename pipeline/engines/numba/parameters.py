"""Weights and velocities: by name, in their declared shapes, or in the flat arrays of the kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from pipeline.engines.fused import weighted_layers
from pipeline.engines.numba.plan import Layout, Memory
from pipeline.networks.arrays import FloatArray
from pipeline.networks.weights import Weights


def put_weights(layout: Layout, weights: Weights, memory: Memory) -> None:
    """Copy weights into `Memory.weights` and `Memory.transposed`."""
    put_parameters(layout, weights, memory.weights)
    for layer in layout.plan:
        if layer["is_rectified"]:
            # The rectifier of padded units is closed: at 0 all their windows would be tied, which takes longer.
            memory.weights[layer["biases"] + layer["units"] : layer["biases"] + layer["padded_units"]] = -1
        if not layer["is_first"]:
            matrix = _matrix(layer, memory.weights)
            memory.transposed[layer["weights"] :][: matrix.size] = matrix.ravel("F")


def put_parameters(layout: Layout, named: Weights, flat: FloatArray) -> None:
    """Copy weights into an array like `Memory.weights`, or their velocities into one like `Memory.velocities`."""
    for name, view in _views(layout, flat):
        view[...] = named[name].reshape(view.shape)


def get_parameters(layout: Layout, flat: FloatArray) -> Weights:
    """Return a copy of the weights in an array like `Memory.weights`, or of the velocities."""
    shapes = layout.network.weight_shapes
    return {name: view.copy().reshape(shapes[name]) for name, view in _views(layout, flat)}


def _views(layout: Layout, flat: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """Yield the name of all weights and biases, and a view of them, or of their velocities, with the declared axes.

    The weights of a dense layer behind images have an axis for each axis of the images: ``(channels, rows, columns,
    units)``.
    """
    for (entry, _), layer in zip(weighted_layers(layout.network, "numba"), layout.plan, strict=True):
        matrix, units = _matrix(layer, flat), int(layer["units"])
        if not layer["is_dense"]:
            by_unit = matrix.T if layer["is_first"] else matrix
            channels = entry.input_shape[0]
            filters = by_unit.reshape(-1, layer["filter_rows"], layer["filter_columns"], layer["channels"])
            view = filters[:units, ::-1, ::-1, :channels].transpose(0, 3, 1, 2)
        elif len(entry.input_shape) == 3 and not layer["is_first"]:
            channels, rows, columns = entry.input_shape
            by_pixel = matrix.reshape(rows, columns, -1, layer["padded_units"])
            view = by_pixel[:, :, :channels, :units].transpose(2, 0, 1, 3)
        else:
            view = matrix[: math.prod(entry.input_shape), :units]
        yield f"{entry.name}/W", view
        yield f"{entry.name}/b", flat[layer["biases"] :][:units]


def _matrix(layer: np.void, flat: FloatArray) -> FloatArray:
    """View a layer's weights in the order of `Memory.weights`."""
    fan_in, units = int(layer["fan_in"]), int(layer["padded_units"])
    shape = (fan_in, units) if layer["is_dense"] or layer["is_first"] else (units, fan_in)
    return flat[layer["weights"] :][: fan_in * units].reshape(shape)
