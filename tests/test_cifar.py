from __future__ import annotations

import functools
import gzip
import hashlib
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data import cifar, dataset
from pipeline.data.cifar import ARCHIVE_NAME, BATCHES, META, TEST_BATCHES, TRAIN_BATCHES
from pipeline.data.cifar_writer import write_batches, write_members
from pipeline.errors import ArchiveError
from pipeline.progress.monitor import SILENT
from tests import archives
from tests.archives import dumps
from tests.monitors import RecordingMonitor

BATCH = TRAIN_BATCHES[2]


def read(path):
    batches = []
    contents = cifar.read_archive(path, batches.append)
    return batches, contents


def refused(folder, entries) -> str:
    path = archives.write_tar(folder, entries)
    with pytest.raises(ArchiveError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "`make pipeline ARCHIVE=PATH`" in message
    return message


def refused_with(folder, name, **values) -> str:
    """Spoil one pickle: replace some of its keys, or drop those given as None."""
    contents = archives.contents()
    contents[name] = {key: value for key, value in (contents[name] | values).items() if value is not None}
    return refused(folder, [(member, dumps(value)) for member, value in contents.items()])


class TestSoundArchives:
    def test_reads_every_batch(self, tmp_path):
        batches, _ = read(archives.sound(tmp_path))

        assert [(batch.split, batch.index, batch.total, len(batch)) for batch in batches] == [
            ("train", 0, 5, 3),
            ("train", 1, 5, 3),
            ("train", 2, 5, 3),
            ("train", 3, 5, 3),
            ("train", 4, 5, 3),
            ("test", 0, 1, 3),
        ]
        for batch, (images, labels) in zip(batches, archives.batches(), strict=True):
            assert np.array_equal(batch.images, images)
            assert np.array_equal(batch.labels, labels)
            assert (batch.images.dtype, batch.labels.dtype) == (np.uint8, np.uint8)

    def test_tells_the_class_names_and_the_digest(self, tmp_path):
        path = archives.sound(tmp_path)

        _, contents = read(path)

        assert contents == cifar.Contents(["cat", "dog", "ship"], hashlib.sha256(path.read_bytes()).hexdigest())

    @pytest.mark.parametrize("order", [[*reversed(BATCHES), META], [META, *TEST_BATCHES, *TRAIN_BATCHES]])
    def test_takes_members_in_any_order(self, tmp_path, order):
        files = archives.files()

        batches, contents = read(archives.write_tar(tmp_path, [(name, files[name]) for name in order]))

        assert contents.class_names == archives.CLASSES
        for batch in batches:
            place = batch.index if batch.split == "train" else 5
            assert np.array_equal(batch.images, archives.batches()[place][0])

    def test_takes_names_that_begin_with_the_folder_that_was_packed(self, tmp_path):
        folder = tarfile.TarInfo("./")
        folder.type = tarfile.DIRTYPE
        files = [(f"./{name}", content) for name, content in archives.files().items()]

        batches, contents = read(archives.write_tar(tmp_path, [(folder, b""), *files]))

        assert len(batches) == 6
        assert contents.class_names == archives.CLASSES

    def test_passes_over_other_members(self, tmp_path):
        link = tarfile.TarInfo("cifar-10-batches-py/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type = tarfile.DIRTYPE
        others = [(folder, b""), ("cifar-10-batches-py/readme.html", b"<html>"), ("../../escape", b"x"), (link, b"")]

        batches, _ = read(archives.write_tar(tmp_path, [*others, *archives.files().items()]))

        assert len(batches) == 6
        assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE_NAME]

    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("text", [str, str.encode], ids=["text", "bytes"])
    @pytest.mark.parametrize(
        "kind", [list, np.array, lambda labels: list(np.array(labels))], ids=["list", "array", "scalars"]
    )
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_takes_pickles_as_python_3_writes_them(self, tmp_path, protocol, text, kind, order):
        entries = []
        for name, content in archives.contents().items():
            if name == META:
                content["label_names"] = [text(label) for label in content["label_names"]]
            else:
                content |= {"labels": kind(content["labels"]), "data": np.array(content["data"], order=order)}
            entries.append((name, pickle.dumps({text(key): value for key, value in content.items()}, protocol)))

        batches, contents = read(archives.write_tar(tmp_path, entries))

        assert contents.class_names == archives.CLASSES
        for batch, (images, labels) in zip(batches, archives.batches(), strict=True):
            assert np.array_equal(batch.images, images)
            assert np.array_equal(batch.labels, labels)

    def test_takes_pickles_as_python_2_wrote_them(self, tmp_path):
        batches, contents = read(archives.write_tar(tmp_path, archives.files(archives.dumps_as_python_2).items()))

        assert contents.class_names == archives.CLASSES
        for batch, (images, labels) in zip(batches, archives.batches(), strict=True):
            assert np.array_equal(batch.images, images)
            assert np.array_equal(batch.labels, labels)

    def test_needs_no_number_of_cases(self, tmp_path):
        files = archives.files() | {META: dumps({"label_names": archives.CLASSES})}

        assert len(read(archives.write_tar(tmp_path, files.items()))[0]) == 6

    def test_holds_one_batch_in_memory(self, tmp_path):
        images, labels = np.zeros((1000, 3, 32, 32), np.uint8), np.zeros(1000, np.uint8)
        path = tmp_path / ARCHIVE_NAME
        write_batches(path, [(images, labels)] * 6, archives.CLASSES)
        tracemalloc.start()

        cifar.read_archive(path, len)

        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert images.nbytes < peak < 1.7 * images.nbytes


class TestMissingParts:
    def test_no_file(self, tmp_path):
        with pytest.raises(ArchiveError, match="there is no such file"):
            read(tmp_path / ARCHIVE_NAME)

    def test_a_folder(self, tmp_path):
        with pytest.raises(ArchiveError, match="there is no such file"):
            read(tmp_path)

    def test_no_archive(self, tmp_path):
        with pytest.raises(ArchiveError, match=r"cifar-10-python.tar.gz: it is a web page.*Delete it"):
            read(archives.write(tmp_path, b"<!DOCTYPE html>"))

    def test_cut_off(self, tmp_path):
        path = archives.sound(tmp_path)
        path.write_bytes(path.read_bytes()[:-20])

        with pytest.raises(ArchiveError, match="it is cut off after"):
            read(path)

    @pytest.mark.parametrize("name", [META, *BATCHES])
    def test_a_member(self, tmp_path, name):
        files = archives.files()
        del files[name]

        assert f"it lacks '{name}'; expected the Python version of CIFAR-10." in refused(tmp_path, files.items())

    def test_a_batch_under_both_of_its_names(self, tmp_path):
        files = archives.files()
        name = TEST_BATCHES[0]

        assert f"it holds {name!r} twice" in refused(tmp_path, [*files.items(), (f"./{name}", files[name])])

    def test_another_archive(self, tmp_path):
        message = refused(tmp_path, [("cifar-100-python/meta", b"x"), ("cifar-100-python/train", b"y")])

        assert "It holds 'cifar-100-python/meta', 'cifar-100-python/train'." in message

    def test_nothing_in_it(self, tmp_path):
        assert "it lacks 'cifar-10-batches-py/data_batch_1'" in refused(tmp_path, [])

    @pytest.mark.parametrize("name", [META, BATCH])
    def test_a_member_twice(self, tmp_path, name):
        files = archives.files()

        assert f"it holds '{name}' twice" in refused(tmp_path, [*files.items(), (name, files[name])])

    def test_a_link_in_place_of_a_batch(self, tmp_path):
        link = tarfile.TarInfo(BATCH)
        link.type, link.linkname = tarfile.LNKTYPE, TRAIN_BATCHES[0]

        message = refused(tmp_path, [*archives.files().items(), (link, b"")])

        assert f"'{BATCH}' is a hard link; expected a file" in message

    @pytest.mark.parametrize(("name", "limit"), [(META, "1,048,576"), (BATCH, "67,108,864")])
    def test_a_member_of_absurd_size(self, tmp_path, name, limit):
        member = tarfile.TarInfo(name)
        member.size = 100 << 20

        message = refused(tmp_path, [(member, b"")])

        assert f"'{name}' has 104,857,600 bytes; expected at most {limit}." in message


class TestSpoiltContents:
    def test_no_pickle(self, tmp_path):
        message = refused(tmp_path, (archives.files() | {BATCH: b"<html>"}).items())

        assert f"in '{BATCH}' the pickle has the operation b'<' at byte 0" in message

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (
                {"data": None},
                "'data' in 'cifar-10-batches-py/data_batch_3' is missing; expected an array",
            ),
            ({"labels": None}, "'labels' in 'cifar-10-batches-py/data_batch_3' is missing; expected a list of 3"),
            (
                {"data": "text"},
                "'data' in 'cifar-10-batches-py/data_batch_3' is 'text'; expected an array",
            ),
            ({"data": "x" * 300}, "is a long string; expected an array"),
            ({"data": b"x" * 300}, "is a long string; expected an array"),
            ({"data": [1]}, "is a list of 1; expected an array"),
            ({"data": np.zeros((3, 3071), np.uint8)}, "has shape (3, 3071); expected (N, 3072)"),
            (
                {"data": np.zeros((0, 3072), np.uint8), "labels": []},
                "has shape (0, 3072); expected (N, 3072), N from 1",
            ),
            ({"data": np.zeros((3, 3, 1024), np.uint8)}, "has shape (3, 3, 1024); expected (N, 3072)"),
            ({"data": np.zeros(3072, np.uint8)}, "has shape (3072,); expected (N, 3072)"),
            ({"data": np.uint8(7)}, "is 7; expected an array"),
            (
                {"data": np.zeros((3, 3072), np.float32)},
                "float32 and shape (3, 3072); expected an array of type uint8",
            ),
            ({"labels": [0, 1]}, "'labels' in 'cifar-10-batches-py/data_batch_3' is a list of 2; expected a list of 3"),
            ({"labels": "abc"}, "is 'abc'; expected a list of 3"),
            ({"labels": np.int64([0, 1, 256])}, "the label of image 2 in 'cifar-10-batches-py/data_batch_3' is 256"),
            ({"labels": np.float32([0, 1.5, 1])}, "the label of image 0 in 'cifar-10-batches-py/data_batch_3' is 0.0"),
            ({"labels": np.int64([0, 1])}, "is an array of type int64 and shape (2,); expected a list of 3"),
            ({"labels": np.zeros((3, 1), int)}, "is an array of type int64 and shape (3, 1); expected a list of 3"),
            ({"labels": [0, -1, 1]}, "the label of image 1 in 'cifar-10-batches-py/data_batch_3' is -1"),
            ({"labels": [0, 1, 256]}, "the label of image 2 in 'cifar-10-batches-py/data_batch_3' is 256"),
            ({"labels": [0, "1", 1]}, "the label of image 1 in 'cifar-10-batches-py/data_batch_3' is '1'"),
            ({"labels": [0, [1], 1]}, "the label of image 1 in 'cifar-10-batches-py/data_batch_3' is a list of 1"),
            ({"labels": [0, 1, 3]}, "'cifar-10-batches-py/data_batch_3' has the label 3; expected 0 to 2"),
            ({"filenames": ["a"]}, "'filenames' in 'cifar-10-batches-py/data_batch_3' is a list of 1; expected a list"),
            (
                {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]},
                "'cifar-10-batches-py/data_batch_3' has 2 images, but 'cifar-10-batches-py/data_batch_1' has 3",
            ),
        ],
    )
    def test_a_batch(self, tmp_path, values, message):
        assert message in refused_with(tmp_path, BATCH, **values)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"label_names": None}, "'label_names' in 'cifar-10-batches-py/batches.meta' is missing"),
            ({"label_names": []}, "is a list of 0; expected a list of 1 to 256 names"),
            ({"label_names": [str(i) for i in range(257)]}, "is a list of 257"),
            ({"label_names": ["cat", "dog", "cat"]}, "has a name twice"),
            ({"label_names": ["cat", "dog", 7]}, "is 7; expected a line of text"),
            ({"label_names": ["cat", "dog", ""]}, "is ''; expected a line of text"),
            ({"label_names": ["cat", "dog", b"\xff"]}, r"is b'\xff'; expected a line of text"),
            ({"label_names": ["cat", "dog", "\x1b[31m"]}, r"is '\x1b[31m'; expected a line of text"),
            ({"label_names": ["cat", "dog"]}, "has the label 2; expected 0 to 1"),
            ({"num_cases_per_batch": 4}, "its batches have 3 images each; expected 4"),
            ({"num_cases_per_batch": "3"}, "'num_cases_per_batch' in 'cifar-10-batches-py/batches.meta' is '3'"),
        ],
    )
    def test_meta(self, tmp_path, values, message):
        assert message in refused_with(tmp_path, META, **values)

    def test_a_truth_value_for_a_label(self, tmp_path):
        spoilt = dumps(archives.contents()[BATCH] | {"labels": [7, 0, 0]}).replace(b"(K\x07", b"(\x88")

        message = refused(tmp_path, (archives.files() | {BATCH: spoilt}).items())

        assert "the label of image 0 in 'cifar-10-batches-py/data_batch_3' is True" in message

    @settings(
        max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.data())
    def test_whatever_comes_is_read_or_refused(self, tmp_path, data):
        """A pickle's bytes are changed, but for its pixels, and gzip's checksum is right."""
        files = archives.files()
        name = data.draw(st.sampled_from([META, BATCH, *TEST_BATCHES]))
        spoilt = bytearray(files[name])
        pixels = spoilt.find(b"T" + struct.pack("<i", archives.SIZE * 3072))
        places = st.integers(0, len(spoilt) - 1)
        if pixels >= 0:
            places = st.integers(0, pixels + 8) | st.integers(pixels + 9000, len(spoilt) - 1)
        for _ in range(data.draw(st.integers(1, 4))):
            place = min(data.draw(places), len(spoilt) - 1)
            spoilt[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        path = archives.write_tar(tmp_path, (files | {name: bytes(spoilt)}).items())

        with suppress(ArchiveError):
            assert len(read(path)[0]) == 6


def special(name, kind=tarfile.REGTYPE, **values):
    member = tarfile.TarInfo(name)
    member.type = kind
    for key, value in values.items():
        setattr(member, key, value)
    return member


@functools.cache
def zeros():
    """Gzip 600 MiB of them, in a few megabytes."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(600)), packer.flush()])


def bomb(member):
    return archives.gzipped(archives.tar([(member, b"")], b"")) + zeros()


def with_batch(content):
    return archives.gzipped(archives.tar((archives.files() | {BATCH: content}).items()))


def with_first(*entries):
    return archives.gzipped(archives.tar([*entries, *archives.files().items()]))


class Command:
    """Pickled, it would make a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


DEEP = b"\x80\x02}U\x04dataK\x01" + b"\x85" * 200_000 + b"s."
ENDLESS = b"\x80\x02}" + b"N" * (60 << 20)
DOUBLING = b"\x80\x02}U\x04dataK\x01" + b"q\x00h\x00\x86" * 50_000 + b"s."

WIDE = (
    b"\x80\x02}X\x04\0\0\0dataX" + struct.pack("<I", 60 << 20) + "\N{ROSE}".encode() + b"x" * ((60 << 20) - 4) + b"s."
)
SPELLED = b"c_codecs\nencode\n%sX\x06\0\0\0latin1\x86R"
ENCODED = (
    b"\x80\x02}X\x04\0\0\0data"
    + SPELLED % (b"X" + struct.pack("<I", 60 << 20) + b"x" * (60 << 20) + b"q\x00")
    + SPELLED % b"h\x00" * 100
    + b"s."
)

HOSTILE = {
    "a pickle that calls something": (lambda: with_batch(pickle.dumps(Command(), 2)), "names 'posix.mkdir'"),
    "a pickle that is nested deeply": (lambda: with_batch(DEEP), "'data' in 'cifar-10-batches-py/data_batch_3' is a"),
    "a pickle that goes on and on": (lambda: with_batch(ENDLESS), "more than 500,000 operations"),
    "a pickle that asks for memory": (lambda: with_batch(b"\x80\x02}T\xff\xff\xff\x7f"), "ends in the middle"),
    "a pickle whose values double": (lambda: with_batch(DOUBLING), "is a tuple; expected an array"),
    "a pickle with a long text of wide characters": (lambda: with_batch(WIDE), "is a long string; expected an array"),
    "a pickle that encodes a long text a hundred times": (lambda: with_batch(ENCODED), "encodes more text than it has"),
    "a batch of 100 GB in a small file": (
        lambda: bomb(special(BATCH, size=100 << 30)),
        "expected at most 67,108,864",
    ),
    "another file of 100 GB likewise": (lambda: bomb(special("x", size=100 << 30)), "holds more than 512 MiB"),
    "an extended header of 600 MB": (lambda: bomb(special("x", tarfile.XHDTYPE, size=600 << 20)), "more than 512 MiB"),
    "a name of 600 MB": (lambda: bomb(special("x", tarfile.GNUTYPE_LONGNAME, size=600 << 20)), "more than 512 MiB"),
    "many files": (lambda: gzip.compress(archives.tar([("x", b"")], b"") * 50_000, 1), "more than 10,000 files"),
    "many gzip files": (lambda: archives.gzipped(b"") * 100_000, "more than 10,000 gzip files in one"),
    "a sparse batch": (lambda: with_first((special(BATCH, tarfile.GNUTYPE_SPARSE), b"")), "stored as a sparse file"),
    "a batch that is a device": (lambda: with_first((special(BATCH, tarfile.CHRTYPE), b"")), "is a character device"),
    "a batch that is a pipe": (lambda: with_first((special(BATCH, tarfile.FIFOTYPE), b"")), "is a named pipe"),
    "a batch that is a link": (
        lambda: with_first((special(BATCH, tarfile.SYMTYPE, linkname="/etc/passwd"), b"")),
        "is a symbolic link",
    ),
    "a batch twice": (lambda: with_first((BATCH, archives.files()[BATCH])), f"holds '{BATCH}' twice"),
    "absolute paths": (
        lambda: archives.gzipped(archives.tar((f"/{name}", content) for name, content in archives.files().items())),
        "expected the Python version of CIFAR-10. It holds '/cifar-10-batches-py/data_batch_1',",
    ),
    "paths that lead outside": (
        lambda: archives.gzipped(archives.tar([("../escaped", b"x"), ("/escaped", b"x")])),
        "It holds '../escaped', '/escaped'.",
    ),
    "a gzip that is cut off": (lambda: with_first()[:-1000], "it is cut off after"),
}

CONVERT = """
import resource
from pathlib import Path
from pipeline.data import cifar
from pipeline.errors import PipelineError
from pipeline.progress.monitor import SILENT
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
try:
    cifar.convert(Path("output"), archive=Path("archive"), title="", monitor=SILENT)
except PipelineError as error:
    print(error)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_take_little_and_leave_nothing(tmp_path, name):
    """In a process that may take 200 MiB more than it has at first, and 20 seconds of a processor."""
    make, message = HOSTILE[name]
    (tmp_path / "archive").mkdir()
    (tmp_path / "output").mkdir()
    archives.write(tmp_path / "archive", make())
    before = sorted(tmp_path.rglob("*"))

    done = subprocess.run(
        [sys.executable, "-c", CONVERT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"archive/{ARCHIVE_NAME}: ")
    assert message in done.stdout
    assert done.stdout.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent / "escaped").exists()


class TestConvert:
    @pytest.fixture
    def folders(self, tmp_path):
        (tmp_path / "archive").mkdir()
        (tmp_path / "output").mkdir()
        return tmp_path / "archive", tmp_path / "output"

    def test_writes_the_images_in_order(self, folders):
        archive, output = folders
        files = archives.files()
        archives.write_tar(archive, [(name, files[name]) for name in [*reversed(BATCHES), META]])

        cifar.convert(output, archive=archive, title="", monitor=SILENT)

        with dataset.open_dataset(output / "images.h5") as data:
            train, train_labels = data.read("train")
            test, test_labels = data.read("test")
        batches = archives.batches()
        assert np.array_equal(train, np.concatenate([images for images, _ in batches[:5]]))
        assert np.array_equal(train_labels, np.concatenate([labels for _, labels in batches[:5]]))
        assert np.array_equal(test, batches[5][0])
        assert np.array_equal(test_labels, batches[5][1])
        assert [path.name for path in output.iterdir()] == ["images.h5"]

    @pytest.mark.parametrize(
        ("title", "class_names", "expected"),
        [
            ("", cifar.CLASS_NAMES, "CIFAR-10"),
            ("", archives.CLASSES, "images of 3 classes"),
            ("My pets", cifar.CLASS_NAMES, "My pets"),
        ],
    )
    def test_describes_them(self, folders, title, class_names, expected):
        archive, output = folders
        path = archives.sound(archive, class_names)

        cifar.convert(output, archive=archive, title=title, monitor=SILENT)

        description = dataset.describe_dataset(output / "images.h5")
        assert description.title == expected
        assert description.class_names == class_names
        assert description.archive_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert description.counts == {"train": 15, "test": 3}

    def test_writes_the_same_bytes_each_time(self, folders, tmp_path):
        archive, output = folders
        archives.sound(archive)
        (tmp_path / "again").mkdir()

        cifar.convert(output, archive=archive, title="", monitor=SILENT)
        cifar.convert(tmp_path / "again", archive=archive, title="", monitor=SILENT)

        assert (tmp_path / "again/images.h5").read_bytes() == (output / "images.h5").read_bytes()

    def test_leaves_no_file_where_the_archive_is_spoilt(self, folders):
        archive, output = folders
        write_members(archive / ARCHIVE_NAME, {name: data for name, data in archives.files().items() if name != META})

        with pytest.raises(ArchiveError, match="it lacks"):
            cifar.convert(output, archive=archive, title="", monitor=SILENT)

        assert not list(output.iterdir())

    def test_tells_how_far_it_is(self, folders):
        archive, output = folders
        archives.sound(archive)
        monitor = RecordingMonitor()

        cifar.convert(output, archive=archive, title="", monitor=monitor)

        assert monitor.steps == [(done, 6, "batches") for done in range(1, 7)]
