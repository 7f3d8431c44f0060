from __future__ import annotations

import re

import h5py
import numpy as np
import pytest

from pipeline.data.dataset import GRAYSCALE_NAME, DatasetWriter, open_dataset
from pipeline.engines import reference
from pipeline.errors import FilmError
from pipeline.networks.first_layer import first_layer_pictures
from pipeline.training.film import (
    FILM_NAME,
    HDF5_BYTES,
    ShownImages,
    film_of_epoch,
    first_of_each_class,
    max_film_bytes,
    read_film,
    write_film,
)
from tests import small_networks
from tests.small_networks import convolution, dense

NETWORK = small_networks.NETWORKS["like the article's"]


def film(epochs, network=NETWORK):
    """Make the film of some epochs, from random weights and random confusion."""
    examples = small_networks.random_examples(network, 4, seed=1)
    shown = ShownImages(np.arange(4, dtype=np.int64), examples.images)
    frames = [
        film_of_epoch(
            network,
            small_networks.random_weights(network, seed=epoch),
            np.random.default_rng(epoch).integers(0, 1000, (network.classes, network.classes)),
            shown,
        )
        for epoch in range(epochs)
    ]
    return sum(frames[1:], frames[0])


def assert_same(found, expected):
    for name, values in vars(expected).items():
        assert vars(found)[name].dtype == values.dtype, name
        np.testing.assert_array_equal(vars(found)[name], values, name)


class TestShownImages:
    def shown(self, folder, labels, classes):
        images = np.random.default_rng(1).normal(size=(len(labels), 3)).astype(np.float32)
        with DatasetWriter(folder / GRAYSCALE_NAME) as writer:
            for split in ("train", "test"):
                writer.put(split, 0, images, np.uint8(labels), total=len(labels))
            writer.describe("things", [f"class {label}" for label in range(classes)], "ab" * 32)
        with open_dataset(folder / GRAYSCALE_NAME) as data:
            return images, first_of_each_class(data)

    def test_are_the_first_of_each_class_in_file_order(self, tmp_path):
        images, shown = self.shown(tmp_path, [3, 3, 1, 3, 0, 1, 0], classes=5)

        assert shown.indices.tolist() == [0, 2, 4]
        assert shown.indices.dtype == np.int64
        np.testing.assert_array_equal(shown.images, images[[0, 2, 4]])

    def test_are_of_the_first_ten_classes_that_occur(self, tmp_path):
        _, shown = self.shown(tmp_path, [*range(30, 0, -1)], classes=31)

        assert shown.indices.tolist() == list(range(10))


class TestEpoch:
    def test_probabilities_are_the_networks(self):
        found = film(3)

        images = small_networks.random_examples(NETWORK, 4, seed=1).images
        expected = [
            reference.probabilities(NETWORK, small_networks.random_weights(NETWORK, seed), images) for seed in range(3)
        ]
        assert found.probabilities.dtype == np.float32
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)

    @pytest.mark.parametrize("name", ["like the article's", "three channels", "images straight into units"])
    def test_weights_are_found_again_to_half_a_step(self, name):
        network = small_networks.NETWORKS[name]

        found = film(1, network)

        pictures = first_layer_pictures(network, small_networks.random_weights(network, seed=0), 16)
        scales = found.scales[0][:, None, None]
        assert found.filters.min() >= 1
        np.testing.assert_array_equal(found.scales[0], np.abs(pictures).max((1, 2)))
        np.testing.assert_allclose(
            (found.filters[0].astype(float) - 128) * scales / 127, pictures, atol=scales.max() / 253
        )

    @pytest.mark.parametrize(
        ("network", "units"),
        [
            (small_networks.network((1024,), dense(100)), 8),
            (small_networks.network((1, 32, 32), convolution(40, (3, 3))), 16),
            (small_networks.network((90**2,), dense(4)), 1),
            (small_networks.network((91**2,), dense(4)), 0),
            (small_networks.network((7,), dense(4)), 0),
        ],
        ids=["as the MLP", "as a CNN", "one picture", "a picture too large", "no picture"],
    )
    def test_units_are_those_that_fit(self, network, units):
        found = film(2, network)

        assert found.filters.shape[:2] == found.scales.shape == (2, units)

    def test_a_unit_without_weights_is_gray(self):
        weights = {name: np.zeros_like(values) for name, values in small_networks.random_weights(NETWORK, 1).items()}
        shown = ShownImages(np.arange(1), np.zeros((1, *NETWORK.input_shape), np.float32))

        found = film_of_epoch(NETWORK, weights, np.zeros((3, 3), np.int64), shown)

        assert not found.scales.any()
        assert (found.filters == 128).all()


class TestFile:
    @pytest.mark.parametrize("network", [NETWORK, small_networks.network((7,))], ids=["with filters", "without"])
    def test_what_is_written_is_read(self, tmp_path, network):
        write_film(tmp_path / FILM_NAME, film(3, network))

        assert_same(read_film(tmp_path / FILM_NAME), film(3, network))

    def test_the_same_film_gives_the_same_bytes(self, tmp_path):
        for name in ("once", "again"):
            write_film(tmp_path / name, film(2))

        assert (tmp_path / "once").read_bytes() == (tmp_path / "again").read_bytes()

    @pytest.mark.parametrize("classes", [2, 256])
    def test_is_no_larger_than_the_maximum(self, tmp_path, classes):
        network = small_networks.network((64**2,), dense(30), classes=classes)
        shown = ShownImages(np.arange(10), small_networks.random_examples(network, 10, seed=1).images)
        frame = film_of_epoch(network, small_networks.random_weights(network, 1), np.zeros((classes,) * 2, int), shown)
        write_film(tmp_path / FILM_NAME, frame + frame)

        size = (tmp_path / FILM_NAME).stat().st_size
        assert size <= max_film_bytes(classes, 2) <= size + HDF5_BYTES

    def test_a_missing_one(self, tmp_path):
        with pytest.raises(FilmError, match=r"film\.h5 is not there\. Type `make pipeline`"):
            read_film(tmp_path / FILM_NAME)

    def test_one_that_was_cut_off(self, tmp_path):
        path = tmp_path / FILM_NAME
        write_film(path, film(2))
        path.write_bytes(path.read_bytes()[:-100])

        with pytest.raises(FilmError, match=r"film\.h5 cannot be read as HDF5 \(it is cut off\)\. Train"):
            read_film(path)

    @pytest.mark.parametrize("start", range(0, 3072, 128))
    def test_any_damage_to_the_structure_is_told_or_harmless(self, tmp_path, start):
        path = tmp_path / FILM_NAME
        write_film(path, film(2))
        content = bytearray(path.read_bytes())
        content[start : start + 16] = b"\xa5" * 16
        path.write_bytes(content)

        try:
            found = read_film(path)
        except FilmError:
            return
        assert found.confusion.shape == (2, 3, 3)

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            ("scales", None, "it lacks 'scales'; expected it with shape (2, 3)"),
            (
                "filters",
                np.zeros((2, 3, 3), np.uint8),
                "'filters' has shape (2, 3, 3) and type uint8; expected (epochs, ",
            ),
            ("scales", np.zeros((2, 4), np.float32), "'scales' has shape (2, 4) and type float32; expected (2, 3) and"),
            (
                "confusion",
                np.zeros((2, 3, 4), np.uint32),
                "'confusion' has shape (2, 3, 4) and type uint32; expected (2,",
            ),
            ("images", np.zeros(4, np.int32), "'images' has shape (4,) and type int32; expected (images) and int64"),
            ("probabilities", np.zeros((2, 5, 3), np.float32), "expected (2, 4, 3) and float32. Train"),
            (
                "probabilities",
                np.full((2, 4, 3), np.nan, np.float32),
                "'probabilities' holds values that are not finite",
            ),
        ],
    )
    def test_other_content(self, tmp_path, name, values, message):
        path = tmp_path / FILM_NAME
        write_film(path, film(2))
        with h5py.File(path, "r+") as file:
            del file[name]
            if values is not None:
                file[name] = values

        with pytest.raises(FilmError, match=re.escape(message)):
            read_film(path)
