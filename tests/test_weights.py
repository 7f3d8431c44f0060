from __future__ import annotations

import math

import h5py
import numpy as np
import pytest

from pipeline.errors import WeightsError
from pipeline.networks.weights import draw_weights, read_weights, write_weights
from tests import small_networks
from tests.small_networks import convolution, dense

NETWORK = small_networks.network((2, 6, 5), convolution(3, (3, 2)), dense(20))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "weights.h5"
    write_weights(path, draw_weights(NETWORK, seed=1))
    return path


def spoil(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


class TestDraw:
    def test_follows_glorot_and_bengio(self):
        network = small_networks.network((3, 8, 8), convolution(40, (5, 3)), dense(100))

        drawn = draw_weights(network, seed=3)

        for name, fans in {"layer1/W": (40 + 3) * 15, "layer2/W": 40 * 24 + 100, "layer3/W": 100 + 3}.items():
            bound = math.sqrt(6 / fans)
            largest = np.abs(drawn[name]).max()
            assert 0.95 * bound < largest <= np.float32(bound), name
            assert drawn[name].std() == pytest.approx(bound / math.sqrt(3), rel=0.1), name

    def test_biases_are_zero(self):
        drawn = draw_weights(NETWORK, seed=3)

        assert not any(np.any(values) for name, values in drawn.items() if name.endswith("/b"))

    def test_shapes_and_type(self):
        drawn = draw_weights(NETWORK, seed=3)

        assert list(drawn) == list(NETWORK.weight_shapes)
        assert {name: values.shape for name, values in drawn.items()} == NETWORK.weight_shapes
        assert {values.dtype for values in drawn.values()} == {np.dtype(np.float32)}

    def test_comes_from_one_random_state_layer_by_layer(self):
        """As Lasagne draws them."""
        generator = np.random.RandomState(42)

        drawn = draw_weights(NETWORK, seed=42)

        for name, bound in (("layer1/W", 6 / (5 * 6)), ("layer2/W", 6 / (48 + 20)), ("layer3/W", 6 / 23)):
            expected = generator.uniform(-math.sqrt(bound), math.sqrt(bound), NETWORK.weight_shapes[name])
            assert np.array_equal(drawn[name], expected.astype(np.float32)), name

    def test_the_seed_decides(self):
        once, again, other = (draw_weights(NETWORK, seed)["layer2/W"] for seed in (1, 1, 2))

        assert np.array_equal(once, again)
        assert not np.any(once == other)


class TestFile:
    def test_reads_what_was_written(self, path):
        read = read_weights(path, NETWORK)

        expected = draw_weights(NETWORK, seed=1)
        assert list(read) == list(expected)
        assert all(np.array_equal(read[name], expected[name]) for name in expected)
        assert {values.dtype for values in read.values()} == {np.dtype(np.float32)}

    def test_same_weights_same_bytes(self, path, tmp_path):
        write_weights(tmp_path / "again.h5", draw_weights(NETWORK, seed=1))
        write_weights(tmp_path / "other.h5", draw_weights(NETWORK, seed=2))

        assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()
        assert (tmp_path / "other.h5").read_bytes() != path.read_bytes()

    def test_layout_in_memory_does_not_count(self, path, tmp_path):
        drawn = {name: np.asfortranarray(values) for name, values in draw_weights(NETWORK, seed=1).items()}

        write_weights(tmp_path / "fortran.h5", drawn)

        assert (tmp_path / "fortran.h5").read_bytes() == path.read_bytes()

    def test_holds_lasagnes_names_and_shapes(self, path):
        with h5py.File(path) as file:
            assert file["layer1/W"].shape == (3, 2, 3, 2)
            assert file["layer2/W"].shape == (48, 20)
            assert file["layer2/b"].dtype == np.float32


class TestDamage:
    def test_missing(self, tmp_path):
        with pytest.raises(WeightsError, match=r"absent\.h5 is not there"):
            read_weights(tmp_path / "absent.h5", NETWORK)

    @pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
    def test_no_hdf5(self, path, content):
        path.write_bytes(content)

        with pytest.raises(WeightsError, match=r"cannot be read as HDF5 \(.*\)\. Train the network again"):
            read_weights(path, NETWORK)

    def test_cut_off(self, path):
        path.write_bytes(path.read_bytes()[:-100])

        with pytest.raises(WeightsError, match=r"cannot be read as HDF5 \(it is cut off\)"):
            read_weights(path, NETWORK)

    @pytest.mark.parametrize("start", range(0, 2048, 128))
    def test_any_damage_to_the_structure_is_told_or_harmless(self, path, start):
        content = bytearray(path.read_bytes())
        content[start : start + 16] = b"\xa5" * 16
        path.write_bytes(content)

        try:
            read = read_weights(path, NETWORK)
        except WeightsError:
            return
        assert {name: values.shape for name, values in read.items()} == NETWORK.weight_shapes

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda file: file.pop("layer2/b"), r"it lacks 'layer2/b'; .* of shape \(20,\)"),
            (lambda file: file.pop("layer2"), r"it lacks 'layer2/W'"),
            (replace("layer2", [1, 2]), r"it lacks 'layer2/W'"),
            (
                replace("layer2/b", np.zeros(21, np.float32)),
                r"'layer2/b' has shape \(21,\) and type float32; .*\(20,\)",
            ),
            (replace("layer2/b", np.zeros(20)), r"'layer2/b' has shape \(20,\) and type float64; .* and float32"),
            (replace("layer2/b", np.full(20, np.nan, np.float32)), r"'layer2/b' holds values that are not finite"),
            (replace("layer2/b", np.full(20, np.inf, np.float32)), r"'layer2/b' holds values that are not finite"),
            (
                lambda file: file.create_dataset("layer9/W", data=[1.0]),
                r"it holds 'layer9', which the network does not",
            ),
        ],
    )
    def test_other_content(self, path, change, message):
        spoil(path, change)

        with pytest.raises(WeightsError, match=rf"weights\.h5: {message}"):
            read_weights(path, NETWORK)
