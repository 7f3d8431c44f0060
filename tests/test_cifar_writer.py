from __future__ import annotations

import gzip
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import cifar
from pipeline.data.cifar import META, TEST_BATCHES, TRAIN_BATCHES
from pipeline.data.cifar_writer import MAX_BATCH_IMAGES, write_archive, write_batches, write_members
from pipeline.data.pickles import loads
from pipeline.errors import ArchiveError
from tests import archives


class TestArchives:
    def test_writes_all_members(self, tmp_path):
        path = archives.sound(tmp_path)

        files = archives.unpacked(path)

        assert list(files) == [META, *TRAIN_BATCHES, *TEST_BATCHES]
        assert loads(files[META]) == {
            "num_cases_per_batch": 3,
            "label_names": [b"cat", b"dog", b"ship"],
            "num_vis": 3072,
        }
        assert set(loads(files[TRAIN_BATCHES[0]])) == {"batch_label", "labels", "data", "filenames"}

    def test_python_reads_them_as_it_reads_the_published_ones(self, tmp_path):
        """With ``encoding="bytes"``, as the page of CIFAR-10 advises."""
        files = archives.unpacked(archives.sound(tmp_path))

        batch = pickle.loads(files[TRAIN_BATCHES[0]], encoding="bytes")

        assert set(batch) == {b"batch_label", b"labels", b"data", b"filenames"}
        assert np.array_equal(batch[b"data"], archives.batches()[0][0].reshape(3, 3072))
        assert pickle.loads(files[META], encoding="bytes")[b"label_names"] == [b"cat", b"dog", b"ship"]

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_writes_the_same_bytes_however_the_images_lie_in_memory(self, tmp_path, order):
        other = [
            (np.array(images.reshape(3, 3072), order=order).reshape(images.shape), labels)
            for images, labels in archives.batches()
        ]

        write_batches(tmp_path / "other.tar.gz", other, archives.CLASSES)

        assert (tmp_path / "other.tar.gz").read_bytes() == archives.sound(tmp_path).read_bytes()

    def test_writes_the_same_bytes_each_time(self, tmp_path):
        assert archives.sound(tmp_path / "one").read_bytes() == archives.sound(tmp_path / "two").read_bytes()

    def test_writes_neither_time_nor_name_into_gzip(self, tmp_path):
        header = archives.sound(tmp_path).read_bytes()[:10]

        assert int.from_bytes(header[4:8], "little") == 0
        assert header[3] == 0

    def test_leaves_nothing_where_it_cannot_write(self, tmp_path):
        (tmp_path / "archive.tar.gz").mkdir()

        with pytest.raises(ArchiveError, match=r"is a folder; expected the name of a file"):
            write_members(tmp_path / "archive.tar.gz", {"a": b"b"})

        assert [path.name for path in tmp_path.iterdir()] == ["archive.tar.gz"]

    def test_leaves_alone_what_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")

        with pytest.raises(ArchiveError, match=r"pipe is a pipe \(FIFO\); expected the name of a file"):
            write_members(tmp_path / "pipe", {"a": b"b"})

        assert (tmp_path / "pipe").is_fifo()

    def test_follows_a_link(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path / "archive")

        write_members(tmp_path / "link", {"a": b"b"})

        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "archive").is_file()

    @pytest.mark.parametrize("names", [{"cat", "dog"}, {"cat": 0, "dog": 1}])
    def test_class_names_without_an_order(self, tmp_path, names):
        with pytest.raises(ArchiveError, match="expected a list of"):
            write_archive(tmp_path / "archive", np.zeros((6, 3, 32, 32), np.uint8), [0] * 6, names)

    def test_a_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()

        with pytest.raises(ArchiveError, match="cannot be written"):
            write_members(tmp_path / "file" / "archive.tar.gz", {"a": b"b"})

    def test_replaces_an_older_archive(self, tmp_path):
        path = archives.write(tmp_path, b"old")

        write_members(path, {"a": b"b"})

        assert gzip.decompress(path.read_bytes())[512:513] == b"b"

    @pytest.mark.parametrize("name", ["", "."])
    def test_a_path_that_names_no_file(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)

        with pytest.raises(ArchiveError, match="is a folder; expected the name of a file"):
            write_members(name, {"a": b"b"})

        assert list(tmp_path.iterdir()) == []


def read(path):
    """Return the images and labels of the six batches, and the class names."""
    batches = []
    contents = cifar.read_archive(path, batches.append)
    assert [batch.split for batch in batches] == ["train"] * 5 + ["test"]
    return [(batch.images, batch.labels) for batch in batches], contents.class_names


def numbered(count):
    """Make images that each hold their own number."""
    images = np.zeros((count, 3, 32, 32), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return images


def numbers_of(images):
    return images[:, 0, 0, 0] + 256 * images[:, 0, 0, 1].astype(int)


class TestFromArrays:
    def write(self, folder, labels, class_names):
        """Write numbered images; return the numbers and labels of those in each batch, and what the function told."""
        left_out = write_archive(folder / "own.tar.gz", numbered(len(labels)), np.array(labels), class_names)
        batches, names = read(folder / "own.tar.gz")
        assert names == class_names
        return [(numbers_of(images), labels) for images, labels in batches], left_out

    @pytest.mark.parametrize("counts", [[60, 60, 60], [100, 31, 7, 600], [6, 6], [300], [1, 2, 3, 50]])
    def test_each_batch_has_the_classes_in_the_same_proportions(self, tmp_path, counts):
        labels = np.repeat(np.arange(len(counts)), counts)
        np.random.default_rng(0).shuffle(labels)

        batches, left_out = self.write(tmp_path, labels, ["rose", "tulip", "daisy", "lily"][: len(counts)])

        assert left_out == len(labels) % 6
        assert {len(numbers) for numbers, _ in batches} == {len(labels) // 6}
        for numbers, given_labels in batches:
            assert np.array_equal(labels[numbers], given_labels)
        in_each = np.array([np.bincount(given, minlength=len(counts)) for _, given in batches])
        assert (in_each.max(axis=0) - in_each.min(axis=0)).max() <= 1
        assert len(np.unique(np.concatenate([numbers for numbers, _ in batches]))) == len(labels) - left_out

    def test_classes_are_mixed_although_they_come_sorted(self, tmp_path):
        batches, _ = self.write(tmp_path, np.repeat([0, 1, 2], [120, 120, 240]), ["rose", "tulip", "daisy"])

        for _, labels in batches:
            for start in range(0, len(labels), 8):
                assert np.bincount(labels[start : start + 8], minlength=3).tolist() == [2, 2, 4]

    def test_images_of_a_class_go_to_the_batches_in_turn(self, tmp_path):
        batches, _ = self.write(tmp_path, [0] * 12 + [1] * 6, ["rose", "tulip"])

        assert [numbers.tolist() for numbers, _ in batches] == [[place, place + 12, place + 6] for place in range(6)]

    def test_what_is_left_out_is_of_the_largest_classes(self, tmp_path):
        batches, left_out = self.write(tmp_path, [0] * 3 + [1] * 30 + [2] * 2, ["rose", "tulip", "daisy"])

        kept = np.concatenate([numbers for numbers, _ in batches])
        assert left_out == 5
        assert sorted(set(range(35)) - set(kept)) == [28, 29, 30, 31, 32]

    def test_the_same_bytes_each_time(self, tmp_path):
        images, labels = numbered(20), np.arange(20) % 3
        for name in ("one", "two"):
            write_archive(tmp_path / name, images, labels, archives.CLASSES)

        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    @pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64, list])
    def test_whole_numbers_of_any_type_are_labels(self, tmp_path, kind):
        labels = list(range(3)) * 4 if kind is list else np.arange(12).astype(kind) % 3
        write_archive(tmp_path / "own.tar.gz", numbered(12), labels, archives.CLASSES)

        for images, given_labels in read(tmp_path / "own.tar.gz")[0]:
            assert np.array_equal(numbers_of(images) % 3, given_labels)

    def test_a_path_may_be_text(self, tmp_path):
        write_archive(f"{tmp_path}/new folder/own.tar.gz", numbered(6), np.zeros(6, int), ["rose"])

        assert read(tmp_path / "new folder" / "own.tar.gz")[1] == ["rose"]
        assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["own.tar.gz"]

    def test_as_many_classes_as_a_label_can_name(self, tmp_path):
        names = [f"class {label}" for label in range(256)]

        batches, _ = self.write(tmp_path, np.arange(6 * 256) % 256, names)

        assert [np.unique(labels).size for _, labels in batches] == [256] * 6


IMAGES, LABELS = np.zeros((12, 3, 32, 32), np.uint8), np.zeros(12, np.uint8)


def names_of(name):
    return [name, "tulip"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"images": np.zeros((12, 32, 32, 3), np.uint8)},
                r"^images has the shape \(12, 32, 32, 3\); expected \(N, 3, 32, 32\), N from 1\. "
                r"Give images\.transpose\(0, 3, 1, 2\): ",
            ),
            ({"images": np.zeros((12, 32, 32), np.uint8)}, r"Give images\[:, None\]\.repeat\(3, axis=1\): gray"),
            ({"images": np.zeros((12, 3, 64, 64), np.uint8)}, r"^images has the shape \(12, 3, 64, 64\); expected"),
            ({"images": np.zeros((12, 3072), np.uint8)}, r"^images has the shape \(12, 3072\); expected"),
            ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"^images has the shape \(0, 3, 32, 32\); .* N from 1\.$"),
            ({"images": [], "labels": []}, r"^images has the shape \(0,\); expected"),
            ({"images": [[1], [1, 2]]}, r"^images has parts that differ in shape; "),
            (
                {"images": IMAGES / 255},
                r"^images has the type float64; expected uint8\. .* images\.astype\(np\.uint8\)\.$",
            ),
            ({"images": IMAGES.astype(np.int64)}, r"^images has the type int64; expected uint8\."),
            (
                {"labels": LABELS[:11]},
                r"^labels has the shape \(11,\); expected \(12,\), a whole number for each image",
            ),
            ({"labels": np.zeros((12, 2), np.uint8)}, r"^labels has the shape \(12, 2\); expected \(12,\), "),
            ({"labels": LABELS / 2}, r"^labels has the type float64; expected whole numbers, "),
            ({"labels": ["rose"] * 12}, r"^labels has the type <U4; expected whole numbers, "),
            ({"labels": np.arange(12) - 3}, r"^labels\[0\] is -3; expected 0 to 1, each the index of a name"),
            ({"labels": np.arange(12)}, r"^labels\[2\] is 2; expected 0 to 1, "),
            ({"labels": np.arange(12) + 2**62}, r"^labels\[0\] is 4611686018427387904; expected 0 to 1, "),
            (
                {"class_names": []},
                r"^class_names is \[\]; expected a list of 1 to 256 names, such as \['cat', 'dog'\]\.$",
            ),
            ({"class_names": "rose"}, r"^class_names is 'rose'; expected a list"),
            ({"class_names": 2}, r"^class_names is 2; expected a list"),
            ({"class_names": [f"{label}" for label in range(257)]}, r"^class_names is .*; expected a list of 1 to 256"),
            ({"class_names": ["rose", "tulip", "rose"]}, r"^class_names has 'rose' twice; expected a different name"),
            (
                {"class_names": names_of(7)},
                r"^class_names\[0\] is 7; expected a line of text, up to 255 bytes in UTF-8\.$",
            ),
            ({"class_names": names_of("")}, r"^class_names\[0\] is ''; expected a line of text"),
            ({"class_names": names_of(" ")}, r"^class_names\[0\] is ' '; expected a line of text"),
            ({"class_names": names_of("rose\n")}, r"^class_names\[0\] is 'rose\\n'; expected a line of text"),
            ({"class_names": names_of("\ud800")}, r"^class_names\[0\] is '\\ud800'; expected a line of text"),
            (
                {"class_names": names_of("\N{REPLACEMENT CHARACTER}")},
                r"^class_names\[0\] is .*; expected a line of text",
            ),
            (
                {"class_names": names_of("\N{ROSE}" * 64)},
                r"^class_names\[0\] is .*; expected a line of text, up to 255 ",
            ),
        ],
    )
    def test_says_what_is_wrong_before_it_writes(self, tmp_path, change, message):
        given = {"images": IMAGES, "labels": LABELS, "class_names": ["rose", "tulip"]} | change
        path = tmp_path / "own.tar.gz"

        with pytest.raises(ArchiveError, match=message):
            write_archive(path, **given)
        with pytest.raises(ArchiveError, match=message.replace("^", "^(batch 1: )?")):
            write_batches(path, [(given["images"], given["labels"])] * 6, given["class_names"])

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("count", [1, 5, 6 * MAX_BATCH_IMAGES + 1])
    def test_too_few_and_too_many(self, tmp_path, count):
        images = np.broadcast_to(np.uint8(0), (count, 3, 32, 32))

        with pytest.raises(ArchiveError, match=f"^there are {count:,} images; expected 6 to 119,406, for six batches"):
            write_archive(tmp_path / "own.tar.gz", images, np.zeros(count, int), ["rose"])

        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("batches", "message"),
        [
            ([(IMAGES, LABELS)] * 5, r"^there are 5 batches; expected six: five to train on and one to test on\.$"),
            ([(IMAGES, LABELS)] * 7, r"^there are 7 batches; expected six"),
            (
                [*[(IMAGES, LABELS)] * 5, (IMAGES[:7], LABELS[:7])],
                r"^batch 6 has 7 images, but batch 1 has 12; expected equal batches\.$",
            ),
            ([*[(IMAGES, LABELS)] * 3, (IMAGES, LABELS + 9), *[(IMAGES, LABELS)] * 2], r"^batch 4: labels\[0\] is 9; "),
            (
                [(np.broadcast_to(np.uint8(0), (20_000, 3, 32, 32)), np.zeros(20_000, int))] * 6,
                r"^batch 1 has 20,000 images; expected at most 19,901\.$",
            ),
        ],
    )
    def test_batches(self, tmp_path, batches, message):
        with pytest.raises(ArchiveError, match=message):
            write_batches(tmp_path / "own.tar.gz", batches, ["rose"])

        assert list(tmp_path.iterdir()) == []


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 5), min_size=1, max_size=30),
    class_names=st.lists(st.text(max_size=300) | st.sampled_from(["a", "b", "c"]), max_size=5),
)
def test_what_is_written_can_be_read(tmp_path_factory, labels, class_names):
    path = tmp_path_factory.mktemp("written") / "own.tar.gz"
    try:
        left_out = write_archive(path, numbered(len(labels)), np.array(labels), class_names)
    except ArchiveError:
        assert not path.exists()
        return

    batches, names = read(path)

    assert names == class_names
    assert sum(len(labels) for _, labels in batches) == len(labels) - left_out
