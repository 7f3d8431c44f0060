from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.data import pickles
from pipeline.errors import ArchiveError
from tests.archives import dumps, dumps_as_python_2

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

PUBLISHED = (
    b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x05test q\x03U\x06labelsq\x04]q\x05(K\x06K\teU\x04dataq\x06"
    b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\t(K\x01K\x02K\x03\x86"
    b"cnumpy\ndtype\nq\nU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    b"U\x06\x00\x01\x02\x03\x04\x05tbU\tfilenamesq\x0c]q\r(U\x05a.pngq\x0eU\x05b.pngq\x0feu."
)
"""The operations of the published batches, one for one, with smaller contents."""

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)
PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
"""Protocols 0 and 1 are those of Python before 2.3."""
MANY_NAMES = [f"{number}.png" for number in range(300)]
"""More objects than the short operations of the pickle's memo can number."""


def with_value(operations: bytes) -> bytes:
    """The pickle of a dict whose only value the operations push."""
    return b"\x80\x02}U\x03key" + operations + b"s."


def with_array(shape=b"K\x03K\x04\x86", order=b"\x89", values=b"U\x0c" + bytes(12), version=b"K\x01") -> bytes:
    sound = dumps_as_python_2({"key": np.zeros((3, 4), np.uint8)})
    start = sound.index(b"(K\x01K\x03K\x04\x86")
    stop = sound.index(b"\x89U\x0c")
    kind = sound[sound.index(b"cnumpy\ndtype") : stop]
    return sound[:start] + b"(" + version + shape + kind + order + values + b"tbs."


ENCODE = b"c_codecs\nencode\n"
LATIN_1 = b"%sX\x06\x00\x00\x00latin1\x86R"
ARRAY = b"cnumpy.core.numeric\n_frombuffer\n(C\x02abcnumpy\ndtype\nU\x02u1\x89\x88\x87RK\x02\x85X\x01\x00\x00\x00CtR"
SCALAR = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00%s\x89\x88\x87R%s\x86R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def long_binget(slot: int) -> bytes:
    return pickle.LONG_BINGET + struct.pack("<I", slot)


def name_as_numpy_1(data: bytes) -> bytes:
    """Put NumPy 1's names in the place of NumPy 2's."""
    for module in (b"multiarray", b"numeric"):
        name, old_name = b"numpy._core." + module, b"numpy.core." + module
        data = data.replace(b"c" + name, b"c" + old_name)
        data = data.replace(b"\x8c%c" % len(name) + name, b"\x8c%c" % len(old_name) + old_name)
    return data


class TestSoundPickles:
    @pytest.mark.parametrize("data", FROM_PYTHON_2)
    def test_reads_what_python_2_wrote(self, data):
        assert pickles.loads(data) == {
            "text": [b"again", b"again"],
            "numbers": [0, 255, 256, 65535, 65536, -1],
            "one": [b"x"],
            "long": b"y" * 300,
            "flags": (True, False, None),
            "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        }

    def test_reads_a_published_batch(self):
        batch = pickles.loads(PUBLISHED)

        assert batch.pop("data").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert batch == {"batch_label": b"test ", "labels": [6, 9], "filenames": [b"a.png", b"b.png"]}

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("long", [b"y" * 70_000, bytes(range(256)) * 300], ids=["ascii", "all bytes"])
    def test_reads_the_values_that_python_3_writes(self, protocol, long):
        value = {
            "numbers": [0, 255, 256, 65535, 65536, -1, 2**31, -(2**70), 0.5],
            "text": ["a", "\N{GREEK SMALL LETTER PI}", "\udcff", "a"],
            b"bytes": [b"", b"x", b"\xff", bytes(range(256))[:255]],
            "flags": (True, False, None),
            "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
            "dict": {"inner": [[], {}]},
            "many": list(range(2500)),
            "long": long,
        }

        assert pickles.loads(pickle.dumps(value, protocol)) == {
            key if isinstance(key, str) else key.decode(): item for key, item in value.items()
        }

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("old", [False, True], ids=["NumPy 2", "NumPy 1"])
    @pytest.mark.parametrize(
        "array",
        [
            PIXELS,
            PIXELS.T,
            PIXELS[:, ::2],
            np.arange(900, dtype=np.uint8).reshape(3, 300),
            np.arange(5),
            np.arange(5, dtype=">i4"),
            np.arange(5, dtype=np.uint16),
            np.float32([[0.5, np.inf]]),
            np.float16([1.5]),
            np.zeros((0, 3072), np.uint8),
            np.zeros((2, 3, 4), np.int8),
            np.array(7),
        ],
        ids=lambda array: f"{array.dtype}{array.shape}",
    )
    def test_reads_the_arrays_that_numpy_writes(self, array, protocol, old):
        data = pickle.dumps({"key": array}, protocol)

        read = pickles.loads(name_as_numpy_1(data) if old else data)["key"]

        assert read.dtype == array.dtype
        assert np.array_equal(read, array)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("old", [False, True], ids=["NumPy 2", "NumPy 1"])
    def test_reads_numpys_scalars_as_numbers(self, protocol, old):
        scalars = [np.uint8(7), np.int64(-1), np.int64(300), np.uint8(7), np.float32(0.5), np.float64(0.1)]
        data = pickle.dumps({"key": scalars}, protocol)

        read = pickles.loads(name_as_numpy_1(data) if old else data)["key"]

        assert read == [7, -1, 300, 7, 0.5, 0.1]
        assert [type(number) for number in read] == [int] * 4 + [float] * 2

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_reads_labels_that_are_scalars_of_a_full_batch(self, protocol):
        labels = list(np.arange(20_000) % 10)
        names = [f"{number}.png" for number in range(20_000)]

        read = pickles.loads(pickle.dumps({b"labels": labels, "filenames": names}, protocol))

        assert read == {"labels": labels, "filenames": names}

    @settings(max_examples=200, deadline=None)
    @given(
        st.dictionaries(
            st.text(max_size=50),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers(-(2**100), 2**100)
                | st.floats(allow_nan=False)
                | st.binary(max_size=255)
                | st.text(max_size=60),
                lambda values: (
                    st.lists(values) | st.tuples(values, values) | st.dictionaries(st.text(max_size=9), values)
                ),
                max_leaves=20,
            ),
            max_size=5,
        ),
        st.sampled_from(PROTOCOLS),
    )
    @example({"names": MANY_NAMES, "last": MANY_NAMES[-1]}, 2)
    @example({"names": MANY_NAMES, "last": MANY_NAMES[-1]}, 4)
    def test_reads_the_same_as_the_standard_library(self, value, protocol):
        assert pickles.loads(pickle.dumps(value, protocol)) == value

    def test_reads_python_2_as_the_standard_library_does(self):
        value = {"data": PIXELS, "labels": list(range(2500)), "names": [f"{i}.png" for i in range(300)]}
        data = dumps_as_python_2(value)

        standard = pickle.loads(data, encoding="bytes")
        ours = pickles.loads(data)

        assert np.array_equal(ours.pop("data"), standard.pop(b"data"))
        assert ours == {key.decode(): item for key, item in standard.items()}

    @pytest.mark.parametrize("write", [dumps_as_python_2, *(lambda v, p=p: pickle.dumps(v, p) for p in (3, 4, 5))])
    def test_reads_an_array_without_copying_it(self, write):
        data = bytearray(write({"key": np.arange(600, dtype=np.uint8).reshape(2, 300)}))

        array = pickles.loads(data)["key"]

        assert np.array_equal(array, np.arange(600).astype(np.uint8).reshape(2, 300))
        assert np.shares_memory(array, np.frombuffer(data, np.uint8))

    def test_builds_the_array_that_the_spoilt_ones_below_start_from(self):
        assert pickles.loads(with_array())["key"].shape == (3, 4)


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
            (b"\x80\x01}.", "protocol 1; expected 2 to 5"),
            (b"\x80\x06}.", "protocol 6; expected 2 to 5"),
            (b"\x80\x02].", "holds list; expected dict"),
            (b"\x80\x02.", "empty stack"),
            (b"\x80\x02}u.", "lacks a mark"),
            (b"\x80\x02}(K\x01u.", "key without a value"),
            (b"\x80\x02}K\x01K\x02s.", "has int where a short string belongs"),
            (b"\x80\x02}K\x01K\x01\x86K\x02s.", "has tuple where a short string belongs"),
            (b"\x80\x02}q\x00", "ends in the middle"),
            (b"\x80\x02q\x00.", "empty stack"),
            (with_value(b"h\x07"), "memo's slot 7, which is empty"),
            (with_value(long_binget(2**31 - 1)), "memo's slot 2147483647, which is empty"),
            (with_value(b"K\x01K\x02a"), "int where list belongs"),
            (with_value(b"T\xff\xff\xff\x7f"), "ends in the middle"),
            (with_value(b"T\xff\xff\xff\xff"), "ends in the middle"),
            (with_value(b"K\x012"), r"operation b'2' at byte 10"),
            (with_value(b"Pname\n"), r"operation b'P'"),
            (with_value(b"U\x01aQ"), r"operation b'Q'"),
            (with_value(b"(ios\nsystem\n"), r"operation b'i'"),
            (with_value(b"\x82\x01"), r"operation b'\\x82'"),
            (with_value(b"cnumpy\nload\n"), "names 'numpy.load'"),
            (with_value(b"c" + b"x" * 1000), "names 'x"),
            (with_value(b"K\x01)R"), "makes an array or bytes in an unknown way"),
            (with_value(ARRAY + b")R"), "makes an array or bytes in an unknown way"),
            (with_array(version=ARRAY), "fills an array in an unknown way"),
            (with_value(b"cnumpy\nndarray\n)R"), "makes an array or bytes in an unknown way"),
            (with_value(b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R"), "makes an array or bytes in an unknown way"),
            (
                with_value(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01b\x87R"),
                "makes an array or bytes in an unknown way",
            ),
            (with_value(b"cnumpy\ndtype\nU\x01OK\x00K\x01\x87R"), "NumPy's type 'O'; expected numbers"),
            (with_value(b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87RNb"), "'u1' in an unknown way"),
            (with_value(b"K\x01K\x01b"), "gives a state to int"),
            (with_array(shape=b"K\x03K\x05\x86"), r"shape \(3, 5\) with 12 bytes; expected 15"),
            (
                with_array(shape=b"J\xff\xff\xff\xffJ\xf4\xff\xff\xff\x86"),
                "shape has 2 numbers; expected at most 4, each from 0",
            ),
            (with_array(shape=b"U\x01aK\x0c\x86"), "expected at most 4, each from 0"),
            (with_array(shape=b"(K\x0cK\x01K\x01K\x01K\x01t"), "shape has 5 numbers; expected at most 4"),
            (with_array(shape=b"K\x00" + b"\x8a\x06\0\0\0\0\0\1" * 2 + b"\x87", values=b"U\x00"), "which is too large"),
            (with_array(order=b"K\x01"), "fills an array in an unknown way"),
            (with_array(version=b"K\x00"), "fills an array in an unknown way"),
            (with_array(values=b"K\x0c"), "fills an array in an unknown way"),
            (dumps({"key": np.array(["text"])}), "NumPy's type 'U4'; expected numbers"),
            (dumps({"key": np.array([True])}), "NumPy's type 'b1'; expected numbers"),
            (dumps({"key": np.array([1j])}), "NumPy's type 'c16'; expected numbers"),
            (dumps({"key": np.zeros(2, [("x", "u1")])}), "NumPy's type 'V1'; expected numbers"),
            (dumps({"key": {1}}), r"names 'builtins.set'; expected numpy"),
            (pickle.dumps({"key": {1}}, 4), r"operation b'\\x8f'"),
            (pickle.dumps({"key": 1 << 5000}, 4), r"operation b'\\x8b'"),
            (with_value(b"X\x01\x00\x00\x00\xff"), "a text that is no UTF-8"),
            (with_value(b"\x8e" + b"\xff" * 8), "ends in the middle"),
            (with_value(b"\x8c\x01aK\x01\x93"), "has int where a short string belongs"),
            (with_value(ENCODE + LATIN_1 % text("\u20ac")), "characters that are not Latin-1"),
            (with_value(ENCODE + LATIN_1 % text("\u20ac" * 300)), "characters that are not Latin-1"),
            (with_value(ENCODE + LATIN_1 % (b"X\x2c\x01\x00\x00" + b"\xc3" * 300)), "not Latin-1"),
            (
                with_value(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"),
                "does not fill it",
            ),
            (with_value(SCALAR % (b"f8", b"C\x04abcd")), r"shape \(\) with 4 bytes; expected 8"),
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
            with_value(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"),
            with_value(b"X\x00\x00\x01\x00" + b"x" * 65536 + b"q\x00" + (ENCODE + LATIN_1 % b"h\x00") * 1000),
        ],
        ids=[
            "memo",
            "string",
            "array",
            "cyclic list",
            "doubling tuples",
            "marks",
            "deep tuples",
            "bytes",
            "encoded text",
        ],
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
        with pytest.raises(ArchiveError, match="more than 500,000 operations"):
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
