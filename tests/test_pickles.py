from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import pickles
from pipeline.data.cifar_writer import dumps
from pipeline.errors import ArchiveError

FROM_PYTHON_2 = [
    b"\x80\x02}q\x01(U\x04textq\x02]q\x03(U\x05againq\x04h\x04eU\x04longq\x05T,\x01\x00\x00"
    + b"y" * 300
    + b"U\x03oneq\x06]q\x07U\x01xaU\x06tuplesq\x08()K\x01\x85q\tK\x01K\x02\x86q\nK\x01K\x02K\x03\x87q\x0b(K\x01K\x02K"
    b"\x03K\x04tq\x0ctU\x05flagsq\r\x88\x89N\x87U\x07numbersq\x0e]q\x0f(K\x00K\xffM\x00\x01M\xff\xffJ\x00\x00\x01\x00J"
    b"\xff\xff\xff\xffeu.",
    b"\x80\x02}q\x00(U\x04textq\x01]q\x02(U\x05againq\x03h\x03eU\x04longq\x04T,\x01\x00\x00"
    + b"y" * 300
    + b"q\x05U\x03oneq\x06]q\x07U\x01xq\x08aU\x06tuplesq\t()K\x01\x85q\nK\x01K\x02\x86q\x0bK\x01K\x02K\x03\x87q\x0c(K"
    b"\x01K\x02K\x03K\x04tq\rtq\x0eU\x05flagsq\x0f\x88\x89N\x87q\x10U\x07numbersq\x11]q\x12(K\x00K\xffM\x00\x01M\xff"
    b"\xffJ\x00\x00\x01\x00J\xff\xff\xff\xffeu.",
]
"""The same dict from Python 2.7.18, ``cPickle.dumps(value, 2)`` and ``pickle.dumps(value, 2)``."""

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def with_value(operations: bytes) -> bytes:
    """The pickle of a dict whose only value the operations push."""
    return b"\x80\x02}U\x03key" + operations + b"s."


def with_array(shape=b"K\x03K\x04\x86", order=b"\x89", values=b"U\x0c" + bytes(12), version=b"K\x01") -> bytes:
    sound = dumps({"key": PIXELS})
    start = sound.index(b"(K\x01K\x03K\x04\x86")
    stop = sound.index(b"\x89U\x0c")
    kind = sound[start + len(b"(K\x01K\x03K\x04\x86") : stop]
    return sound[:start] + b"(" + version + shape + kind + order + values + b"tbu."


def long_binget(slot: int) -> bytes:
    return pickle.LONG_BINGET + struct.pack("<I", slot)


class TestSoundPickles:
    @pytest.mark.parametrize("data", FROM_PYTHON_2)
    def test_reads_what_python_2_wrote(self, data):
        assert pickles.loads(data) == {
            b"text": [b"again", b"again"],
            b"numbers": [0, 255, 256, 65535, 65536, -1],
            b"one": [b"x"],
            b"long": b"y" * 300,
            b"flags": (True, False, None),
            b"tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        }

    def test_reads_an_array_without_copying_it(self):
        data = bytearray(dumps({"key": np.arange(600, dtype=np.uint8).reshape(2, 300)}))

        array = pickles.loads(data)[b"key"]

        assert array.dtype == np.uint8
        assert np.array_equal(array, np.arange(600).astype(np.uint8).reshape(2, 300))
        assert np.shares_memory(array, np.frombuffer(data, np.uint8))

    def test_reads_the_same_as_the_standard_library(self):
        class StandardUnpickler(pickle.Unpickler):
            def find_class(self, module, name):
                return {
                    "_reconstruct": np._core.multiarray._reconstruct,
                    "ndarray": np.ndarray,
                    "dtype": np.dtype,
                }[name]

        data = dumps({"data": PIXELS, "labels": list(range(2500)), "names": [f"{i}.png" for i in range(300)]})

        standard = StandardUnpickler(io.BytesIO(data), encoding="bytes").load()
        ours = pickles.loads(data)

        assert np.array_equal(ours.pop(b"data"), standard.pop(b"data"))
        assert ours == standard

    def test_builds_the_array_that_the_spoilt_ones_below_start_from(self):
        assert pickles.loads(with_array())[b"key"].shape == (3, 4)


class TestHostilePickles:
    def test_runs_nothing(self, tmp_path):
        class Command:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "made"),)

        with pytest.raises(ArchiveError, match=r"names 'posix.mkdir'; expected numpy.core"):
            pickles.loads(with_value(pickle.dumps(Command(), 2)[2:-1]))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "ends in the middle of something, at byte 0"),
            (b"\x80\x02}", "ends in the middle"),
            (b"\x80\x04}.", "protocol 4; expected 2"),
            (b"\x80\x02].", "holds list; expected dict"),
            (b"\x80\x02.", "empty stack"),
            (b"\x80\x02}u.", "lacks a mark"),
            (b"\x80\x02}(K\x01u.", "key without a value"),
            (b"\x80\x02}K\x01K\x02s.", "has int as a key"),
            (b"\x80\x02}K\x01K\x01\x86K\x02s.", "has tuple as a key"),
            (b"\x80\x02}q\x00", "ends in the middle"),
            (b"\x80\x02q\x00.", "empty stack"),
            (with_value(b"h\x07"), "memo's slot 7, which is empty"),
            (with_value(long_binget(2**31 - 1)), "memo's slot 2147483647, which is empty"),
            (with_value(b"K\x01K\x02a"), "int where list belongs"),
            (with_value(b"T\xff\xff\xff\x7f"), "ends in the middle"),
            (with_value(b"T\xff\xff\xff\xff"), "ends in the middle"),
            (with_value(b"X\x01\x00\x00\x00a"), r"operation b'X' at byte 8"),
            (with_value(b"K\x012"), r"operation b'2'"),
            (with_value(b"Pname\n"), r"operation b'P'"),
            (with_value(b"U\x01aQ"), r"operation b'Q'"),
            (with_value(b"(ios\nsystem\n"), r"operation b'i'"),
            (with_value(b"\x82\x01"), r"operation b'\\x82'"),
            (with_value(b"cnumpy\nload\n"), "names 'numpy.load'"),
            (with_value(b"c" + b"x" * 1000), "names 'x"),
            (with_value(b"K\x01)R"), "makes an array in an unknown way"),
            (with_value(b"cnumpy\nndarray\n)R"), "makes an array in an unknown way"),
            (with_value(b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R"), "makes an array in an unknown way"),
            (
                with_value(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01b\x87R"),
                "makes an array in an unknown way",
            ),
            (with_value(b"cnumpy\ndtype\nU\x01OK\x00K\x01\x87R"), "NumPy's type b'O'; expected 'u1'"),
            (with_value(b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87RNb"), "'u1' in an unknown way"),
            (with_value(b"K\x01K\x01b"), "gives a state to int"),
            (with_array(shape=b"K\x03K\x05\x86"), r"shape \(3, 5\) with 12 bytes; expected 15"),
            (with_array(shape=b"J\xff\xff\xff\xffJ\xf4\xff\xff\xff\x86"), r"shape \(-1, -12\)"),
            (with_array(shape=b"K\x0c\x85"), "unknown kind of array"),
            (with_array(shape=b"U\x01aK\x0c\x86"), "unknown kind of array"),
            (with_array(order=b"\x88"), "unknown kind of array"),
            (with_array(version=b"K\x00"), "unknown kind of array"),
            (with_array(values=b"K\x0c"), "unknown kind of array"),
            (dumps({"key": PIXELS.astype(np.float64)}), "NumPy's type b'f8'"),
        ],
    )
    def test_refuses(self, data, message):
        with pytest.raises(ArchiveError, match=message):
            pickles.loads(data)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x80\x02}r\xff\xff\xff\x7f.",
            with_value(b"T\xff\xff\xff\x7f"),
            with_array(shape=b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"),
            with_value(b"]q\x00" + b"(h\x00h\x00e" * 1000),
            with_value(b"K\x01q\x00" + b"h\x00\x86q\x00h\x00" * 1000),
            with_value(b"(" * 20_000),
            with_value(b"K\x01" + b"\x85" * 20_000),
        ],
        ids=["memo", "string", "array", "cyclic list", "doubling tuples", "marks", "deep tuples"],
    )
    def test_takes_memory_for_its_length_only(self, data):
        tracemalloc.start()
        try:
            pickles.loads(data)
        except ArchiveError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

        assert peak < 100_000 + 150 * len(data)

    def test_stops_after_too_many_operations(self):
        with pytest.raises(ArchiveError, match="more than 300,000 operations"):
            pickles.loads(with_value(b"N" * pickles.MAX_OPERATIONS))

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.data())
    def test_reads_or_refuses_whatever_comes(self, data):
        spoilt = bytearray(dumps({"data": PIXELS, "labels": [0, 1, 2], "names": ["a", "b"], "long": "x" * 300}))
        for _ in range(data.draw(st.integers(1, 8))):
            place = data.draw(st.integers(0, len(spoilt) - 1))
            length = data.draw(st.integers(0, 3))
            spoilt[place : place + length] = data.draw(st.binary(max_size=4))
        with suppress(ArchiveError):
            assert isinstance(pickles.loads(spoilt), dict)
