"""Draw, write and read a network's weights, in names, shapes and a file that all engines share.

The names and shapes are Lasagne's: ``hidden/W`` is ``(inputs, units)``, ``conv1/W`` is
``(filters, channels, height, width)``, for a true convolution: an engine that correlates flips the filters.
"""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import WeightsError
from pipeline.files import hdf5
from pipeline.networks.arrays import FloatArray
from pipeline.networks.declaration import Network

Weights = dict[str, FloatArray]

WEIGHTS_NAME = "weights.h5"


def draw_weights(network: Network, seed: int) -> Weights:
    """Draw initial weights: Glorot uniform for each ``W``, zero for each ``b``.

    ``W`` is uniform in (-a, a), a = sqrt(6 / ((n1 + n2) r)), where n1 and n2 are the first two sizes of its shape and
    r is the product of the others: Glorot and Bengio (2010), equation 16, as Lasagne computes it with gain 1.
    One ``numpy.random.RandomState(seed)`` draws them layer by layer.
    """
    generator = np.random.RandomState(seed)
    weights = {}
    for name, shape in network.weight_shapes.items():
        if name.endswith("/b"):
            weights[name] = np.zeros(shape, np.float32)
        else:
            bound = math.sqrt(6 / ((shape[0] + shape[1]) * math.prod(shape[2:])))
            weights[name] = generator.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def write_weights(path: Path, weights: Weights) -> None:
    """Write weights to an HDF5 file, each as a data set; the same weights give the same bytes."""
    with h5py.File(path, "w") as file:
        for name, values in weights.items():
            file.create_dataset(name, data=values.astype(np.float32, copy=False))


def read_weights(path: Path, network: Network) -> Weights:
    """Read the weights of a network; raise `WeightsError` if the file is damaged or holds another network's."""
    advice = "Train the network again: `make verify` withdraws damaged results, and `make pipeline` makes them again."
    with hdf5.reading(path, WeightsError, advice) as file:
        weights = {name: _read_one(file, name, shape) for name, shape in network.weight_shapes.items()}
        if spare := hdf5.unexpected(file, set(weights)):
            raise WeightsError(
                f"it holds {spare!r}, which the network does not have: these weights are another network's."
            )
    return weights


def _read_one(file: h5py.File, name: str, shape: tuple[int, ...]) -> FloatArray:
    stored = hdf5.find(file, name, WeightsError)
    if stored is None:
        raise WeightsError(f"it lacks {name!r}; the network expects it, of shape {shape}.")
    if stored.shape != shape or stored.dtype != np.float32:
        raise WeightsError(
            f"{name!r} has shape {stored.shape} and type {stored.dtype}; the network expects {shape} and float32."
        )
    values: FloatArray = stored[()]
    if not np.isfinite(values).all():
        raise WeightsError(f"{name!r} holds values that are not finite.")
    return values
