"""Writing an archive in CIFAR-10's layout, with the pickles that Python 2 would write.

For images of your own, and for tests: `pipeline.cifar` reads what is written here.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.cifar import META, TEST_BATCHES, TRAIN_BATCHES, VALUES
from pipeline.dataset import ByteArray
from pipeline.errors import ArchiveError
from pipeline.pickles import Global


def write_archive(path: Path, class_names: Sequence[str], batches: Sequence[tuple[ByteArray, ByteArray]]) -> None:
    """Write five training batches and a test batch; the same images give the same bytes.

    Parameters
    ----------
    path : Path
        Ends in ``.tar.gz``; its folder is made where there is none.
    class_names : sequence of str
        By label.
    batches : six pairs
        Images, uint8 of shape (N, 3, 32, 32), and their labels, uint8 of shape (N,); the same N in each.

    Raises
    ------
    ArchiveError
        The file cannot be written; nothing is left of it.
    """
    members: dict[str, Any] = {
        META: {"num_cases_per_batch": len(batches[0][1]), "label_names": list(class_names), "num_vis": VALUES}
    }
    for name, (images, labels) in zip(TRAIN_BATCHES + TEST_BATCHES, batches, strict=True):
        members[name] = {
            "batch_label": name.rpartition("/")[2],
            "labels": labels.tolist(),
            "data": images.reshape(len(images), VALUES),
            "filenames": [f"{class_names[label]}_{image:06d}.png" for image, label in enumerate(labels)],
        }
    write_members(path, {name: dumps(content) for name, content in members.items()})


def write_members(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a gzipped tar of the given files, without times or owners.

    Raises
    ------
    ArchiveError
        The file cannot be written; nothing is left of it.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped:
            _write_tar(zipped, members)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ArchiveError(
            f"{path} cannot be written ({error.strerror}). Make room there or name another path."
        ) from None


def _write_tar(file: gzip.GzipFile, members: Mapping[str, bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def dumps(value: Any) -> bytes:
    """Pickle a value as Python 2's ``cPickle.dumps(value, protocol=2)``, its ``str`` being text here.

    Dicts, lists, text, bytes, whole numbers below 2**31 and NumPy arrays are known.
    """
    return pickle.PROTO + b"\x02" + _Encoder().encode(value) + pickle.STOP


class _Encoder:
    """Turns values into a pickle's operations, and numbers what it notes in the memo."""

    def __init__(self) -> None:
        self._noted = 0

    def encode(self, value: Any) -> bytes:
        match value:
            case str():
                return self.encode(value.encode())
            case bytes():
                return _string(value) + self._note()
            case bool() | int() | np.integer():
                return _number(int(value))
            case list():
                return pickle.EMPTY_LIST + self._note() + b"".join(self._pieces(value, pickle.APPENDS))
            case dict():
                pairs = [item for pair in value.items() for item in pair]
                return pickle.EMPTY_DICT + self._note() + b"".join(self._pieces(pairs, pickle.SETITEMS))
            case np.ndarray():
                return self._array(value)
        raise TypeError(f"cannot pickle a {type(value).__name__} as Python 2 does")

    def _pieces(self, items: list[Any], operation: bytes) -> Iterator[bytes]:
        """Encode the items of a list or dict, a thousand (and an even number) at a time, as Python 2 does."""
        for start in range(0, len(items), 1000):
            yield pickle.MARK + b"".join(map(self.encode, items[start : start + 1000])) + operation

    def _array(self, array: npt.NDArray[Any]) -> bytes:
        """Encode an array as NumPy pickles it: made empty, then given its version, shape, type, order and bytes."""
        sizes = b"".join(map(_number, array.shape))
        shape = sizes + pickle.TUPLE2 if array.ndim == 2 else pickle.MARK + sizes + pickle.TUPLE
        parts = [
            self._name(Global.reconstruct),
            self._name(Global.ndarray) + _number(0) + pickle.TUPLE1 + _string(b"b") + pickle.TUPLE3,
            pickle.REDUCE + self._note(),
            pickle.MARK + _number(1) + shape + self._type(array.dtype) + pickle.NEWFALSE,
            _string(array.tobytes()) + pickle.TUPLE + pickle.BUILD,
        ]
        return b"".join(parts)

    def _type(self, dtype: np.dtype[Any]) -> bytes:
        """Encode a type: its name, then its version, byte order and five things that plain types lack."""
        parts = [
            self._name(Global.dtype) + _string(dtype.str[1:].encode()) + _number(0) + _number(1) + pickle.TUPLE3,
            pickle.REDUCE + self._note(),
            pickle.MARK + _number(3) + _string(dtype.str[:1].encode()) + pickle.NONE * 3 + _number(-1) * 2,
            _number(0) + pickle.TUPLE + pickle.BUILD,
        ]
        return b"".join(parts)

    def _name(self, name: Global) -> bytes:
        module, _, attribute = name.rpartition(".")
        return pickle.GLOBAL + f"{module}\n{attribute}\n".encode() + self._note()

    def _note(self) -> bytes:
        self._noted += 1
        slot = self._noted
        return pickle.BINPUT + bytes([slot]) if slot < 256 else pickle.LONG_BINPUT + struct.pack("<I", slot)


def _number(value: int) -> bytes:
    if 0 <= value < 1 << 8:
        return pickle.BININT1 + struct.pack("<B", value)
    if 0 <= value < 1 << 16:
        return pickle.BININT2 + struct.pack("<H", value)
    return pickle.BININT + struct.pack("<i", value)


def _string(value: bytes) -> bytes:
    if len(value) < 1 << 8:
        return pickle.SHORT_BINSTRING + struct.pack("<B", len(value)) + value
    return pickle.BINSTRING + struct.pack("<i", len(value)) + value
