from __future__ import annotations

import h5py
import numpy as np
import pytest

from pipeline.errors import DatasetError
from pipeline.training.evaluate import read_predictions, write_predictions

PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(3), 20).astype(np.float32)


def test_are_read_as_they_were_written(tmp_path):
    write_predictions(tmp_path / "predictions.h5", PROBABILITIES)
    np.testing.assert_array_equal(read_predictions(tmp_path / "predictions.h5"), PROBABILITIES)


def test_the_same_values_give_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        write_predictions(tmp_path / name, PROBABILITIES)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def write_nothing(_):
    pass


def write_no_hdf5(path):
    path.write_bytes(b"no HDF5")


def write_another_layout(path):
    with h5py.File(path, "w") as file:
        file["weights"] = PROBABILITIES


@pytest.mark.parametrize("prepare", [write_nothing, write_no_hdf5, write_another_layout])
def test_a_file_that_is_none_is_named(tmp_path, prepare):
    path = tmp_path / "predictions.h5"
    prepare(path)
    with pytest.raises(DatasetError, match=r"predictions.h5.*`make pipeline`"):
        read_predictions(path)
