"""Weights and velocities: by name, in their declared shapes, or in the flat arrays of the kernels."""

from __future__ import annotations

import math

import numpy as np

from pipeline.engines.fused import weighted_layers
from pipeline.engines.numba.plan import Layout, Memory
from pipeline.networks.arrays import FloatArray
from pipeline.networks.declaration import NamedLayer
from pipeline.networks.weights import Weights


def put_weights(layout: Layout, weights: Weights, memory: Memory) -> None:
    """Copy weights into `Memory.weights` and `Memory.transposed`."""
    put_parameters(layout, weights, memory.weights)
    for layer in layout.plan:
        if layer["is_rectified"]:
            # The rectifier of padded units is closed: at 0 all their windows would be tied, which takes longer.
            memory.weights[layer["biases"] + layer["units"] : layer["biases"] + layer["padded_units"]] = -1
        matrix = _matrix(layer, memory.weights)
        memory.transposed[layer["weights"] :][: matrix.size] = matrix.ravel("F")


def put_parameters(layout: Layout, named: Weights, flat: FloatArray) -> None:
    """Copy weights into an array like `Memory.weights`, or their velocities into one like `Memory.velocities`."""
    for entry, layer in _entries(layout):
        matrix, biases = _declared_views(entry, layer, flat)
        matrix[...] = named[f"{entry.name}/W"].reshape(matrix.shape)
        biases[...] = named[f"{entry.name}/b"]


def get_parameters(layout: Layout, flat: FloatArray) -> Weights:
    """Return a copy of the weights in an array like `Memory.weights`, or of the velocities."""
    named = {}
    for entry, layer in _entries(layout):
        matrix, biases = _declared_views(entry, layer, flat)
        named[f"{entry.name}/W"] = matrix.reshape(layout.network.weight_shapes[f"{entry.name}/W"]).copy()
        named[f"{entry.name}/b"] = biases.copy()
    return named


def _entries(layout: Layout) -> list[tuple[NamedLayer, np.void]]:
    """Return each declared layer with weights, and its row of the plan."""
    entries = [entry for entry, _ in weighted_layers(layout.network, "numba")]
    return list(zip(entries, layout.plan, strict=True))


def _declared_views(entry: NamedLayer, layer: np.void, flat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """View a layer's weights and biases, or their velocities, with the axes in their declared order.

    The weights of a dense layer behind images have an axis for each axis of the images: ``(channels, rows, columns,
    units)``.
    """
    matrix, units = _matrix(layer, flat), int(layer["units"])
    if not layer["is_dense"]:
        by_unit = matrix if layer["weights_by_unit"] else matrix.T
        channels = entry.input_shape[0]
        filters = by_unit.reshape(-1, layer["filter_rows"], layer["filter_columns"], layer["channels"])
        view = filters[:units, ::-1, ::-1, :channels].transpose(0, 3, 1, 2)
    elif len(entry.input_shape) == 3 and not layer["is_first"]:
        channels, rows, columns = entry.input_shape
        view = matrix.reshape(rows, columns, -1, layer["padded_units"])[:, :, :channels, :units].transpose(2, 0, 1, 3)
    else:
        view = matrix[: math.prod(entry.input_shape), :units]
    return view, flat[layer["biases"] :][:units]


def _matrix(layer: np.void, flat: FloatArray) -> FloatArray:
    """View a layer's weights in the order of `Memory.weights`."""
    fan_in, units = int(layer["fan_in"]), int(layer["padded_units"])
    shape = (units, fan_in) if layer["weights_by_unit"] else (fan_in, units)
    return flat[layer["weights"] :][: fan_in * units].reshape(shape)
