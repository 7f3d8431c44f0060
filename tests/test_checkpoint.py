from __future__ import annotations

import struct
import time

import h5py
import numpy as np
import pytest

from pipeline.progress.monitor import SILENT
from pipeline.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pipeline.training.film import Film
from pipeline.training.history import Epoch
from tests.monitors import RecordingMonitor


def after(epochs, dtype=np.float32, film=None):
    """Make up what a training has after so many epochs."""
    random = np.random.default_rng(epochs)
    shapes = {"conv1/W": (3, 1, 2, 2), "conv1/b": (3,), "output/W": (7, 5), "output/b": (5,)}
    weights, velocity = (
        {name: random.normal(size=shape).astype(dtype) for name, shape in shapes.items()} for _ in "wv"
    )
    history = [Epoch(number, *random.normal(size=4).tolist()) for number in range(1, epochs + 1)]
    return Checkpoint(weights, velocity, history, film)


def film(epochs, units):
    return Film(
        filters=np.full((epochs, units, 2, 2), 7, np.uint8),
        scales=np.full((epochs, units), 0.5, np.float32),
        confusion=np.arange(epochs * 9, dtype=np.uint32).reshape(epochs, 3, 3),
        images=np.array([4, 8], np.int64),
        probabilities=np.arange(epochs * 6, dtype=np.float32).reshape(epochs, 2, 3),
    )


def assert_same(found, expected):
    assert found.history == expected.history
    assert (found.film is None) == (expected.film is None)
    parts = [(getattr(found, part), getattr(expected, part)) for part in ("weights", "velocity")]
    if expected.film:
        parts.append((vars(found.film), vars(expected.film)))
    for arrays, expected_arrays in parts:
        assert arrays.keys() == expected_arrays.keys()
        for name, values in expected_arrays.items():
            assert arrays[name].dtype == values.dtype
            assert arrays[name].tobytes() == values.tobytes()


@pytest.fixture
def folder(tmp_path):
    """A folder with the checkpoints of two epochs."""
    folder = tmp_path / "checkpoints"
    for epochs in (1, 2):
        write_checkpoint(folder, after(epochs))
    return folder


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_is_read(tmp_path, dtype):
    write_checkpoint(tmp_path, after(3, dtype))

    assert_same(read_checkpoint(tmp_path, 3, SILENT), after(3, dtype))


@pytest.mark.parametrize("units", [3, 0])
def test_the_film_is_read_too(tmp_path, units):
    write_checkpoint(tmp_path, after(2, film=film(2, units)))

    assert_same(read_checkpoint(tmp_path, 2, SILENT), after(2, film=film(2, units)))


def test_the_same_values_give_the_same_bytes(tmp_path):
    for name in ("once", "again"):
        write_checkpoint(tmp_path / name, after(1))

    once, again = ((tmp_path / name / "epoch-1.h5").read_bytes() for name in ("once", "again"))
    assert once == again


def test_holds_no_time(tmp_path):
    """A second later its bytes would differ."""
    began = int(time.time())

    write_checkpoint(tmp_path, after(1))

    content = (tmp_path / "epoch-1.h5").read_bytes()
    assert not any(struct.pack("<I", second) in content for second in range(began, int(time.time()) + 1))


def test_is_a_file_that_hdf5_reads(folder):
    with h5py.File(folder / "epoch-2.h5") as file:
        assert sorted(file) == ["epochs", "velocity", "weights"]
        np.testing.assert_array_equal(file["weights/output/W"], after(2).weights["output/W"])


def test_the_last_two_are_kept(folder):
    write_checkpoint(folder, after(3))

    assert sorted(path.name for path in folder.iterdir()) == ["epoch-2.h5", "epoch-3.h5"]


def test_a_training_that_began_anew_leaves_none_of_the_old_ones(folder):
    for epochs in (8, 9, 1):
        write_checkpoint(folder, after(epochs))

    assert [path.name for path in folder.iterdir()] == ["epoch-1.h5"]


def test_one_that_went_too_far_is_passed_over(folder):
    assert_same(read_checkpoint(folder, 1, SILENT), after(1))
    assert read_checkpoint(folder, 0, SILENT) is None


def test_the_tenth_comes_after_the_ninth(tmp_path):
    for epochs in (9, 10):
        write_checkpoint(tmp_path, after(epochs))

    assert_same(read_checkpoint(tmp_path, 100, SILENT), after(10))


@pytest.mark.parametrize("there", [True, False], ids=["an empty folder", "no folder"])
def test_there_may_be_none(tmp_path, there):
    folder = tmp_path / "checkpoints"
    if there:
        folder.mkdir()

    assert read_checkpoint(folder, 5, SILENT) is None


def test_other_files_are_left_alone(folder):
    (folder / "epoch-best.h5").touch()
    write_checkpoint(folder, after(3))

    assert_same(read_checkpoint(folder, 5, SILENT), after(3))
    assert (folder / "epoch-best.h5").exists()


class TestDamage:
    @pytest.mark.parametrize("size", [0, 100, 512, 600, -1])
    def test_a_file_that_was_cut_off(self, folder, size):
        path = folder / "epoch-2.h5"
        path.write_bytes(path.read_bytes()[:size])
        monitor = RecordingMonitor()

        assert_same(read_checkpoint(folder, 5, monitor), after(1))
        assert monitor.lines == [
            f"{path} is damaged: its SHA-256 is not the one that was written into it. It is not used."
        ]

    def test_any_bit_that_was_flipped(self, folder):
        path = folder / "epoch-2.h5"
        sound = path.read_bytes()
        for position in [0, 70, 511, 512, 520, *range(600, len(sound), 97), len(sound) - 1]:
            spoilt = bytearray(sound)
            spoilt[position] ^= 1 << position % 8
            path.write_bytes(spoilt)
            monitor = RecordingMonitor()

            assert_same(read_checkpoint(folder, 5, monitor), after(1))
            assert len(monitor.lines) == 1, position

    def test_of_all_of_them(self, folder):
        for path in folder.iterdir():
            path.write_bytes(b"")
        monitor = RecordingMonitor()

        assert read_checkpoint(folder, 5, monitor) is None
        assert len(monitor.lines) == 2

    def test_one_that_cannot_be_written_spoils_none(self, folder):
        (folder / "epoch-3.h5").mkdir()

        with pytest.raises(OSError, match=r"epoch-3\.h5"):
            write_checkpoint(folder, after(3))

        assert sorted(path.name for path in folder.iterdir()) == ["epoch-1.h5", "epoch-2.h5", "epoch-3.h5"]
        assert_same(read_checkpoint(folder, 2, SILENT), after(2))
