from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.data import cifar, dataset, digits
from pipeline.data.cifar import ARCHIVE_NAME
from pipeline.progress.monitor import SILENT


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / ARCHIVE_NAME
    digits.write_archive(path)
    return path


def test_holds_the_digits_enlarged(archive):
    batches = []
    contents = cifar.read_archive(archive, batches.append)
    original = load_digits()

    images = np.concatenate([batch.images for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])

    assert contents.class_names[3] == "three"
    assert images.shape == (1794, 3, 32, 32)
    assert np.array_equal(labels, original.target[:1794])
    for row, column in ((0, 0), (3, 1), (2, 3)):
        for channel in range(3):
            assert np.abs(images[:, channel, row::4, column::4] / 255 - original.images[:1794] / 16).max() <= 0.5 / 255
    assert (images.min(), images.max()) == (0, 255)


def test_stays_the_same(archive):
    unpacked = gzip.decompress(archive.read_bytes())  # what compresses it may be another zlib elsewhere

    assert hashlib.sha256(unpacked).hexdigest() == "8e43f9686a75965496955bc6e4a1b9d39065eb9943addea9cb38da3134ed50d3"


def test_every_class_is_in_both_splits(archive, tmp_path):
    cifar.convert(tmp_path, archive=archive.parent, title="", monitor=SILENT)

    description = dataset.describe_dataset(tmp_path / "images.h5")
    assert description.title == "images of 10 classes"
    assert description.counts == {"train": 1495, "test": 299}
    with dataset.open_dataset(tmp_path / "images.h5") as data:
        for split, least in (("train", 140), ("test", 25)):
            assert np.bincount(data.labels(split), minlength=10).min() >= least


def test_runs_as_a_program_and_writes_the_same_bytes(archive, tmp_path):
    path = tmp_path / "new folder" / "digits.tar.gz"

    done = subprocess.run(
        [sys.executable, "-m", "pipeline.data.digits", path], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"{path}: 1,794 digits in 6 batches of 299\n"
    assert path.read_bytes() == archive.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "expected one path"), (["/proc/digits.tar.gz"], "/proc/digits.tar.gz cannot be written")],
)
def test_tells_what_is_wrong(arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.data.digits", *arguments], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith(message)
