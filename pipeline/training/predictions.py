"""What a network said of each test image: probabilities, in HDF5."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import DatasetError
from pipeline.files import hdf5
from pipeline.networks.arrays import FloatArray

PREDICTIONS_NAME = "predictions.h5"
PROBABILITIES = "probabilities"


def write(path: Path, probabilities: FloatArray) -> None:
    """Write the probabilities of classes, float32 of shape (N, classes), in the order of the images.

    The same values give the same bytes.
    """
    with h5py.File(path, "w") as file:
        file.create_dataset(PROBABILITIES, data=probabilities.astype(np.float32, copy=False))


def read(path: Path) -> FloatArray:
    """Read what `write` wrote.

    Raises
    ------
    DatasetError
        The file is missing, damaged or of another layout.
    """
    advice = f"Delete the folder {path.parent} and type `make pipeline`."
    with hdf5.reading(path, DatasetError, advice) as file:
        found = hdf5.find(file, PROBABILITIES)
        if found is None or found.dtype != np.float32 or found.ndim != 2:
            raise DatasetError(f"it has no {PROBABILITIES} of type float32 and shape (N, classes).")
        if fault := hdf5.misplaced(found):
            raise DatasetError(f"its {PROBABILITIES}: {fault}.")
        probabilities: FloatArray = found[()]
    return probabilities
