from __future__ import annotations

import gzip

import numpy as np
import pytest

from pipeline.cifar import META, TEST_BATCHES, TRAIN_BATCHES
from pipeline.cifar_writer import dumps, write_archive, write_members
from pipeline.errors import ArchiveError
from pipeline.pickles import loads
from tests import archives

FROM_PYTHON_2 = (
    b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x05test q\x03U\x06labelsq\x04]q\x05(K\x06K\teU\x04dataq\x06"
    b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01K\x02K\x03\x86"
    b"cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    b"U\x06\x00\x01\x02\x03\x04\x05tbU\tfilenamesq\x0c]q\r(U\x05a.pngq\x0eU\x05b.pngq\x0feu."
)
"""The operations of the published batches, one for one, with smaller contents."""


class TestPickles:
    def test_writes_what_python_2_wrote(self):
        data = np.arange(6, dtype=np.uint8).reshape(2, 3)
        batch = {"batch_label": "test ", "labels": [6, 9], "data": data, "filenames": ["a.png", "b.png"]}

        assert dumps(batch) == FROM_PYTHON_2

    def test_writes_numbers_text_and_long_lists(self):
        numbers = [*range(3000), 65535, 65536, -1, np.int64(7)]

        read = loads(dumps({"numbers": numbers, "text": "\N{GREEK SMALL LETTER PI}", "long": "x" * 256}))

        assert read == {b"numbers": numbers, b"text": b"\xcf\x80", b"long": b"x" * 256}

    def test_refuses_what_it_does_not_know(self):
        with pytest.raises(TypeError, match="cannot pickle a float"):
            dumps({"key": 1.5})


class TestArchives:
    def test_writes_all_members(self, tmp_path):
        path = archives.sound(tmp_path)

        files = archives.unpacked(path)

        assert list(files) == [META, *TRAIN_BATCHES, *TEST_BATCHES]
        assert loads(files[META]) == {
            b"num_cases_per_batch": 3,
            b"label_names": [b"cat", b"dog", b"ship"],
            b"num_vis": 3072,
        }
        assert set(loads(files[TRAIN_BATCHES[0]])) == {b"batch_label", b"labels", b"data", b"filenames"}

    def test_writes_the_same_bytes_each_time(self, tmp_path):
        assert archives.sound(tmp_path / "one").read_bytes() == archives.sound(tmp_path / "two").read_bytes()

    def test_writes_neither_time_nor_name_into_gzip(self, tmp_path):
        header = archives.sound(tmp_path).read_bytes()[:10]

        assert int.from_bytes(header[4:8], "little") == 0
        assert header[3] == 0

    def test_takes_six_batches(self, tmp_path):
        with pytest.raises(ValueError, match="shorter"):
            write_archive(tmp_path / "archive.tar.gz", archives.CLASSES, archives.batches()[:5])

    def test_leaves_nothing_where_it_cannot_write(self, tmp_path):
        (tmp_path / "archive.tar.gz").mkdir()

        with pytest.raises(ArchiveError, match=r"cannot be written \(Is a directory\)"):
            write_members(tmp_path / "archive.tar.gz", {"a": b"b"})

        assert [path.name for path in tmp_path.iterdir()] == ["archive.tar.gz"]

    def test_replaces_an_older_archive(self, tmp_path):
        path = archives.write(tmp_path, b"old")

        write_members(path, {"a": b"b"})

        assert gzip.decompress(path.read_bytes())[512:513] == b"b"
