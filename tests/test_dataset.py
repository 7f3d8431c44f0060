from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import h5py
import numpy as np
import pytest

from pipeline.data.dataset import DatasetWriter, Description, describe_dataset, open_dataset
from pipeline.errors import DatasetError

IMAGES = np.arange(7 * 12, dtype=np.uint8).reshape(7, 3, 2, 2)
LABELS = np.array([0, 1, 0, 1, 1, 0, 1], np.uint8)


def write(path, images=IMAGES, labels=LABELS, title="small things"):
    with DatasetWriter(path) as writer:
        writer.put("train", 0, images[:5], labels[:5], total=5)
        writer.put("test", 0, images[5:], labels[5:], total=2)
        writer.describe(title, ["cat", "dog"], "ab" * 32)
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "images.h5")


def spoil(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


class TestSoundFiles:
    def test_describes_what_it_holds(self, path):
        assert describe_dataset(path) == Description(
            title="small things",
            class_names=["cat", "dog"],
            archive_sha256="ab" * 32,
            counts={"train": 5, "test": 2},
            image_shape=(3, 2, 2),
            dtype="uint8",
        )

    def test_reads_a_split(self, path):
        with open_dataset(path) as data:
            images, labels = data.read("test")

        assert np.array_equal(images, IMAGES[5:])
        assert np.array_equal(labels, LABELS[5:])
        assert (images.dtype, labels.dtype) == (np.uint8, np.uint8)

    def test_reads_labels_alone(self, path):
        with open_dataset(path) as data:
            assert np.array_equal(data.labels("train"), LABELS[:5])

    def test_reads_in_chunks(self, path):
        with open_dataset(path) as data:
            chunks = list(data.chunks("train", rows=2))

        assert [start for start, _, _ in chunks] == [0, 2, 4]
        assert np.array_equal(np.concatenate([images for _, images, _ in chunks]), IMAGES[:5])
        assert np.array_equal(np.concatenate([labels for _, _, labels in chunks]), LABELS[:5])

    def test_may_be_written_in_pieces_in_any_order(self, tmp_path, path):
        with DatasetWriter(tmp_path / "pieces.h5") as writer:
            for start in (3, 0, 1, 4, 2):
                rows = slice(start, start + 1)
                writer.put("train", start, IMAGES[rows], LABELS[rows], total=5)
            writer.put("test", 0, IMAGES[5:], LABELS[5:], total=2)
            writer.describe("small things", ["cat", "dog"], "ab" * 32)

        assert (tmp_path / "pieces.h5").read_bytes() == path.read_bytes()

    def test_keeps_floats(self, tmp_path):
        gray = np.linspace(-0.5, 0.5, 7 * 4, dtype=np.float32).reshape(7, 4)

        with open_dataset(write(tmp_path / "gray.h5", gray)) as data:
            images, _ = data.read("train")

        assert images.dtype == np.float32
        assert images.tobytes() == gray[:5].tobytes()

    def test_has_the_same_bytes_each_time(self, tmp_path):
        """Made by two processes, whose memory differs, in different seconds, in which HDF5 counts."""
        script = textwrap.dedent("""
            import sys
            from pathlib import Path
            import numpy as np
            from pipeline.data.dataset import SPLITS, DatasetWriter
            with DatasetWriter(Path(sys.argv[1])) as writer:
                for split in SPLITS:
                    writer.put(split, 0, np.ones((9, 3, 32, 32), np.uint8), np.zeros(9, np.uint8), total=9)
                writer.describe("title", ["caf\\u00e9", "dog"], "ab" * 32)
        """)
        subprocess.run([sys.executable, "-c", script, tmp_path / "one.h5"], check=True)
        time.sleep(1)
        subprocess.run([sys.executable, "-c", script, tmp_path / "two.h5"], check=True)

        assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()

    def test_stores_plain_values_in_one_piece(self, path):
        with h5py.File(path) as file:
            stored = file["train/images"]
            assert stored.chunks is None
            assert stored.compression is None
            assert stored.id.get_storage_size() == IMAGES[:5].nbytes


class TestSpoiltFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(DatasetError, match=r"images.h5 is not there. Type `make pipeline` to make it"):
            describe_dataset(tmp_path / "images.h5")

    def test_a_folder(self, tmp_path):
        with pytest.raises(DatasetError, match=r"cannot be read as HDF5 \(Is a directory\)"):
            describe_dataset(tmp_path)

    def test_no_hdf5(self, path):
        path.write_text("<html>")

        with pytest.raises(DatasetError, match=r"cannot be read as HDF5.*it is not an HDF5 file.*Delete the folder"):
            describe_dataset(path)

    @pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.95, 0.999])
    def test_cut_off(self, path, part):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])

        with pytest.raises(DatasetError, match="cannot be read as HDF5"):
            describe_dataset(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda file: file.pop("test"), "it lacks the data set 'test/images'"),
            (lambda file: file["train"].pop("labels"), "it lacks the data set 'train/labels'"),
            (lambda file: file.attrs.pop("title"), "it lacks the attribute 'title'"),
            (lambda file: file.attrs.pop("class_names"), "it lacks the attribute 'class_names'"),
            (lambda file: file.attrs.pop("archive_sha256"), "it lacks the attribute 'archive_sha256'"),
            (
                lambda file: file.attrs.create("class_names", 7),
                "its attribute 'class_names' is no list of 1 to 256 names",
            ),
            (lambda file: file.attrs.create("title", 7), "its attribute 'title' is of type int64; expected text"),
            (replace("train/images", np.zeros((5, 4))), r"has shape \(5, 4\) and type float64; expected \(N, ...\)"),
            (replace("train/images", np.zeros(5, np.uint8)), r"has shape \(5,\) and type uint8"),
            (replace("train/images", np.zeros((0, 4), np.uint8)), r"N from 1"),
            (replace("train/labels", np.zeros(4, np.uint8)), r"shape \(4,\) and type uint8; expected \(5,\) and uint8"),
            (replace("train/labels", np.zeros(5, np.int64)), r"type int64; expected \(5,\) and uint8"),
            (replace("test/images", np.zeros((2, 4), np.uint8)), "training and test images differ in shape or type"),
        ],
    )
    def test_another_layout(self, path, change, message):
        spoil(path, change)

        with pytest.raises(DatasetError, match=message):
            describe_dataset(path)

    def test_a_label_without_a_class(self, path):
        spoil(path, replace("train/labels", np.array([0, 1, 2, 0, 1], np.uint8)))

        with (
            open_dataset(path) as data,
            pytest.raises(DatasetError, match=rf"^{path}: '/train/labels' holds 2; expected 0 to 1"),
        ):
            list(data.chunks("train", rows=2))

    def test_other_errors_in_the_block_are_not_those_of_the_file(self, path):
        with pytest.raises(OSError, match=r"^another file$"), open_dataset(path):
            raise OSError("another file")

    def test_an_unknown_split(self, path):
        with (
            open_dataset(path) as data,
            pytest.raises(DatasetError, match="there is no split 'valid'; expected train or test"),
        ):
            data.read("valid")


class TestFailingWrites:
    def test_leaves_no_file_where_the_block_fails(self, path):
        def fail():
            with DatasetWriter(path) as writer:
                writer.put("train", 0, IMAGES, LABELS, total=7)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()

        assert not path.exists()

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(DatasetError, match=r"cannot be written \(No such file or directory\)"):
            write(tmp_path / "missing" / "images.h5")

    @pytest.mark.parametrize("limit", [0, 1000, 5000, 300_000, 400_000, 616_000])
    def test_a_full_disk(self, tmp_path, limit):
        """The limit on a file's size stands for it: it fails the same calls in the same places."""
        script = textwrap.dedent("""
            import resource, signal, sys
            from pathlib import Path
            import numpy as np
            from pipeline.data.dataset import SPLITS, DatasetWriter
            from pipeline.errors import DatasetError
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
            try:
                with DatasetWriter(Path(sys.argv[1])) as writer:
                    for split in SPLITS:
                        writer.put(split, 0, np.ones((100, 3, 32, 32), np.uint8), np.zeros(100, np.uint8), total=100)
                    writer.describe("title", ["cat", "dog"], "ab" * 32)
            except DatasetError as error:
                print(error)
        """)
        path = tmp_path / "images.h5"

        done = subprocess.run(
            [sys.executable, "-c", script, path, str(limit)], capture_output=True, text=True, check=True
        )

        assert f"{path} cannot be written (File too large)" in done.stdout
        assert not done.stderr
        assert not path.exists()
