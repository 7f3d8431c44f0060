from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from pipeline.data.dataset import DatasetWriter, Description, describe_dataset, open_dataset
from pipeline.data.grayscale import grayscale, make_2d, make_flat
from pipeline.errors import DatasetError
from pipeline.progress.monitor import SILENT
from tests.monitors import RecordingMonitor


def formula(images):
    """Compute the formula as it stands, in float64: within 1e-15 of its true value."""
    red, green, blue = images.astype(np.float64).transpose(1, 0, 2, 3)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255 - 0.5


def random_images(count, height=32, width=32):
    return np.random.default_rng(0).integers(0, 256, (count, 3, height, width), np.uint8)


def write(path, train, test):
    with DatasetWriter(path) as writer:
        for split, images in (("train", train), ("test", test)):
            writer.put(split, 0, images, np.arange(len(images)).astype(np.uint8) % 2, total=len(images))
        writer.describe("small things", ["cat", "dog"], "ab" * 32)


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "output").mkdir()
    write(tmp_path / "images/images.h5", random_images(300), random_images(20))
    return tmp_path / "images", tmp_path / "output"


class TestGrayscale:
    def test_follows_the_formula(self):
        """Rounding to float32 may move a value in [-0.5, 0.5] by 2**-26."""
        images = random_images(50, 8, 8)

        gray = grayscale(images)

        assert gray.shape == (50, 8, 8)
        assert gray.dtype == np.float32
        assert np.abs(gray - formula(images)).max() <= 2**-26 + 1e-15

    def test_differs_from_float64_only_where_that_misses_zero(self):
        images = random_images(1000)
        expected = formula(images).astype(np.float32)

        gray = grayscale(images)

        different = gray != expected
        assert not gray[different].any()
        assert np.abs(expected[different]).max(initial=0) < 1e-16

    def test_is_the_nearest_float32(self):
        levels = np.arange(256, dtype=np.uint8)
        images = np.stack(np.meshgrid(levels, levels[::37], levels[::41]))[None].reshape(1, 3, -1, 1)

        gray = grayscale(images).ravel().tolist()

        for value, color in zip(gray, images[0, :, :, 0].T.tolist(), strict=True):
            thousandths = sum(weight * level for weight, level in zip((299, 587, 114), color, strict=True))
            assert value == np.float32(Fraction(thousandths, 255_000) - Fraction(1, 2))

    def test_goes_from_black_to_white(self):
        images = np.stack([np.full((3, 4, 4), level, np.uint8) for level in (0, 255)])

        assert grayscale(images)[:, 0, 0].tolist() == [-0.5, 0.5]

    @pytest.mark.parametrize(("channel", "share"), [(0, 0.299), (1, 0.587), (2, 0.114)])
    def test_weighs_red_green_and_blue(self, channel, share):
        image = np.zeros((1, 3, 1, 1), np.uint8)
        image[:, channel] = 255

        assert grayscale(image).item() == np.float32(share - 0.5)


class TestStages:
    @pytest.mark.parametrize(("make", "shape"), [(make_flat, (1024,)), (make_2d, (1, 32, 32))])
    def test_write_all_images_and_what_they_are(self, folders, make, shape):
        images, output = folders

        make(output, images=images, monitor=SILENT)

        for split, count in (("train", 300), ("test", 20)):
            with open_dataset(images / "images.h5") as data:
                color, labels = data.read(split)
            with open_dataset(output / "grayscale.h5") as data:
                gray, gray_labels = data.read(split)
            assert gray.shape == (count, *shape)
            assert np.array_equal(gray, grayscale(color).reshape(gray.shape))
            assert np.array_equal(gray_labels, labels)
        assert describe_dataset(output / "grayscale.h5") == Description(
            title="small things",
            class_names=["cat", "dog"],
            archive_sha256="ab" * 32,
            counts={"train": 300, "test": 20},
            image_shape=shape,
            dtype="float32",
        )

    def test_write_the_same_bytes_each_time(self, folders, tmp_path):
        images, output = folders
        (tmp_path / "again").mkdir()

        make_flat(output, images=images, monitor=SILENT)
        make_flat(tmp_path / "again", images=images, monitor=SILENT)

        assert (tmp_path / "again/grayscale.h5").read_bytes() == (output / "grayscale.h5").read_bytes()

    def test_hold_a_few_images_in_memory(self, folders):
        images, output = folders
        few = random_images(256)
        write(images / "images.h5", np.concatenate([few] * 10), few)
        tracemalloc.start()

        make_2d(output, images=images, monitor=SILENT)

        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * few.nbytes

    def test_tell_how_far_they_are(self, folders):
        images, output = folders
        monitor = RecordingMonitor()

        make_flat(output, images=images, monitor=monitor)

        assert monitor.steps == [(256, 320, "images"), (300, 320, "images"), (320, 320, "images")]

    @pytest.mark.parametrize("spoilt", [np.zeros((2, 1024), np.float32), np.zeros((2, 1, 32, 32), np.uint8)])
    def test_refuse_what_has_no_color(self, folders, spoilt):
        images, output = folders
        write(images / "images.h5", spoilt, spoilt)

        with pytest.raises(DatasetError, match=r"expected color, \(3, height, width\) and uint8"):
            make_flat(output, images=images, monitor=SILENT)

        assert not list(output.iterdir())

    def test_refuse_a_missing_file(self, folders):
        images, output = folders
        (images / "images.h5").unlink()

        with pytest.raises(DatasetError, match=r"images.h5 is not there"):
            make_2d(output, images=images, monitor=SILENT)

    def test_leave_no_file_where_the_images_are_spoilt(self, folders):
        images, output = folders
        with DatasetWriter(images / "images.h5") as writer:
            writer.put("train", 0, random_images(2), np.array([0, 1], np.uint8), total=2)
            writer.put("test", 0, random_images(2), np.array([0, 9], np.uint8), total=2)
            writer.describe("small things", ["cat", "dog"], "ab" * 32)

        with pytest.raises(DatasetError, match="'/test/labels' holds 9"):
            make_2d(output, images=images, monitor=SILENT)

        assert not list(output.iterdir())
