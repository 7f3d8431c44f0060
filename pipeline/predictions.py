"""What a network said of each test image: probabilities, in HDF5."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from pipeline.dataset import FloatArray
from pipeline.errors import DatasetError

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
    try:
        with h5py.File(path, "r") as file:
            probabilities: FloatArray = file[PROBABILITIES][()]
    except (KeyError, OSError, RuntimeError, TypeError) as error:
        cause = str(error).partition("\n")[0]
        raise DatasetError(
            f"{path} cannot be read as predictions ({cause}). Delete the folder {path.parent} and type `make pipeline`."
        ) from None
    return probabilities
