from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from pipeline.store.digests import file_digest, json_digest, remembered_file_digest


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "archive"
    path.write_bytes(b"first")
    return path


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "cache/digests.json"


def test_file_digest(path):
    path.write_bytes(b"abc" * 1_000_000)

    assert file_digest(path) == sha256(b"abc" * 1_000_000)


class TestRememberedFileDigest:
    def test_is_the_files(self, path, memory):
        assert remembered_file_digest(path, memory) == sha256(b"first")
        assert remembered_file_digest(path, memory) == sha256(b"first")

    def test_reads_only_what_looks_changed(self, path, memory):
        """Other bytes in the same place, with the same size and time, are what it takes to deceive it."""
        remembered_file_digest(path, memory)
        status = path.stat()
        path.write_bytes(b"other")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

        assert remembered_file_digest(path, memory) == sha256(b"first")

    def test_touched(self, path, memory):
        remembered_file_digest(path, memory)
        os.utime(path, ns=(1, 1))

        assert remembered_file_digest(path, memory) == sha256(b"first")

    def test_changed(self, path, memory):
        remembered_file_digest(path, memory)
        path.write_bytes(b"other")
        os.utime(path, ns=(1, 1))

        assert remembered_file_digest(path, memory) == sha256(b"other")

    def test_grown(self, path, memory):
        remembered_file_digest(path, memory)
        status = path.stat()
        path.write_bytes(b"first and more")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

        assert remembered_file_digest(path, memory) == sha256(b"first and more")

    def test_replaced_by_a_file_of_the_same_size_and_time(self, path, memory):
        remembered_file_digest(path, memory)
        other = path.with_name("other")
        other.write_bytes(b"other")
        shutil.copystat(path, other)
        other.replace(path)

        assert remembered_file_digest(path, memory) == sha256(b"other")

    def test_moved(self, path, memory):
        remembered_file_digest(path, memory)
        moved = path.rename(path.with_name("moved"))
        path.write_bytes(b"other")

        assert remembered_file_digest(moved, memory) == sha256(b"first")
        assert remembered_file_digest(path, memory) == sha256(b"other")

    def test_knows_a_file_by_each_of_its_names(self, path, memory):
        (link := path.with_name("link")).symlink_to(path)

        assert remembered_file_digest(link, memory) == remembered_file_digest(path, memory)
        assert len(json.loads(memory.read_text())) == 1

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"5", b"null"])
    def test_damaged_memory(self, path, memory, content):
        memory.parent.mkdir()
        memory.write_bytes(content)

        assert remembered_file_digest(path, memory) == sha256(b"first")
        assert str(path) in json.loads(memory.read_text())

    @pytest.mark.parametrize("entry", [None, 5, "text", [], [1], {}, {"a": 1}])
    def test_damaged_entry(self, path, memory, entry):
        memory.parent.mkdir()
        memory.write_text(json.dumps({str(path): entry}))

        assert remembered_file_digest(path, memory) == sha256(b"first")

    def test_memory_that_cannot_be_written(self, path):
        assert remembered_file_digest(path, path / "digests.json") == sha256(b"first")
        assert path.read_bytes() == b"first"


class TestJsonDigest:
    def test_order_of_keys_does_not_count(self):
        assert json_digest({"a": 1, "b": {"c": 2, "d": 3}}) == json_digest({"b": {"d": 3, "c": 2}, "a": 1})

    def test_is_the_sha256_of_the_shortest_writing(self):
        assert json_digest({"b": [1, 2.5], "a": None}) == sha256(b'{"a":null,"b":[1,2.5]}')

    @pytest.mark.parametrize("other", [{"a": "1"}, {"a": 1.5}, {"a": [1]}, {"A": 1}, [["a", 1]], {"a": 1, "b": None}])
    def test_other_values_have_other_digests(self, other):
        assert json_digest(other) != json_digest({"a": 1})
