from __future__ import annotations

import hashlib

import pytest

from pipeline.files.digests import file_digest, json_digest


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_file_digest(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1_000_000)

    assert file_digest(path) == sha256(b"abc" * 1_000_000)


class TestJsonDigest:
    def test_order_of_keys_does_not_count(self):
        assert json_digest({"a": 1, "b": {"c": 2, "d": 3}}) == json_digest({"b": {"d": 3, "c": 2}, "a": 1})

    def test_is_the_sha256_of_the_shortest_writing(self):
        assert json_digest({"b": [1, 2.5], "a": None}) == sha256(b'{"a":null,"b":[1,2.5]}')

    @pytest.mark.parametrize("other", [{"a": "1"}, {"a": 1.5}, {"a": [1]}, {"A": 1}, [["a", 1]], {"a": 1, "b": None}])
    def test_other_values_have_other_digests(self, other):
        assert json_digest(other) != json_digest({"a": 1})
