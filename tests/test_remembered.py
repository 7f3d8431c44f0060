from __future__ import annotations

import hashlib
import os
import shutil
import time

import pytest

from pipeline.data import archive
from pipeline.data.archive import forget, remembered_file_digest
from pipeline.files.json_cache import read_sealed, write_sealed


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


def test_is_the_files(path, memory):
    assert remembered_file_digest(path, memory) == sha256(b"first")
    assert remembered_file_digest(path, memory) == sha256(b"first")


def test_reads_only_what_looks_changed(path, memory, monkeypatch):
    remembered_file_digest(path, memory)
    monkeypatch.setattr(archive, "file_digest", pytest.fail)

    assert remembered_file_digest(path, memory) == sha256(b"first")


def test_changed_in_place_with_the_same_size_and_time(path, memory):
    remembered_file_digest(path, memory)
    status = path.stat()
    time.sleep(0.02)  # file systems tell times no closer than the kernel's clock ticks
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert remembered_file_digest(path, memory) == sha256(b"other")


def test_forgotten(path, memory, monkeypatch):
    remembered_file_digest(path, memory)
    other = path.with_name("other")
    other.write_bytes(b"other")
    remembered_file_digest(other, memory)
    forget(path, memory)
    forget(path, memory)
    read = []
    monkeypatch.setattr(archive, "file_digest", lambda path: read.append(path) or "0" * 64)
    remembered_file_digest(path, memory)
    remembered_file_digest(other, memory)

    assert read == [path]


def test_touched(path, memory):
    remembered_file_digest(path, memory)
    os.utime(path, ns=(1, 1))

    assert remembered_file_digest(path, memory) == sha256(b"first")


def test_changed(path, memory):
    remembered_file_digest(path, memory)
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))

    assert remembered_file_digest(path, memory) == sha256(b"other")


def test_grown(path, memory):
    remembered_file_digest(path, memory)
    status = path.stat()
    path.write_bytes(b"first and more")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert remembered_file_digest(path, memory) == sha256(b"first and more")


def test_replaced_by_a_file_of_the_same_size_and_time(path, memory):
    remembered_file_digest(path, memory)
    other = path.with_name("other")
    other.write_bytes(b"other")
    shutil.copystat(path, other)
    other.replace(path)

    assert remembered_file_digest(path, memory) == sha256(b"other")


def test_moved(path, memory):
    remembered_file_digest(path, memory)
    moved = path.rename(path.with_name("moved"))
    path.write_bytes(b"other")

    assert remembered_file_digest(moved, memory) == sha256(b"first")
    assert remembered_file_digest(path, memory) == sha256(b"other")


def test_knows_a_file_by_each_of_its_names(path, memory):
    (link := path.with_name("link")).symlink_to(path)

    assert remembered_file_digest(link, memory) == remembered_file_digest(path, memory)
    assert len(read_sealed(memory)) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"5", b"null"])
def test_damaged_memory(path, memory, content):
    memory.parent.mkdir()
    memory.write_bytes(content)

    assert remembered_file_digest(path, memory) == sha256(b"first")
    assert str(path) in read_sealed(memory)


@pytest.mark.parametrize("entry", [None, 5, "text", [], [1], {}, {"a": 1}])
def test_damaged_entry(path, memory, entry):
    write_sealed(memory, {str(path): entry})

    assert remembered_file_digest(path, memory) == sha256(b"first")


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "0" * 64 + "\n", 5, None, ["0" * 64]])
def test_a_digest_that_is_none(path, memory, digest):
    remembered_file_digest(path, memory)
    entry = read_sealed(memory)[str(path)]
    write_sealed(memory, {str(path): [*entry[:-1], digest]})

    assert remembered_file_digest(path, memory) == sha256(b"first")


def test_a_digest_that_a_bit_of_the_file_has_changed(path, memory):
    digest = remembered_file_digest(path, memory)
    memory.write_text(memory.read_text().replace(digest, "0" * 64))

    assert remembered_file_digest(path, memory) == digest


def test_memory_that_cannot_be_written(path):
    assert remembered_file_digest(path, path / "digests.json") == sha256(b"first")
    assert path.read_bytes() == b"first"
