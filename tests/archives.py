"""Small archives in CIFAR-10's layout: a sound one, and the means to spoil it."""

from __future__ import annotations

import gzip
import io
import pickle
import pickletools
import struct
import tarfile
from pathlib import Path

import numpy as np

from pipeline.data.cifar import ARCHIVE_NAME, BATCHES, META
from pipeline.data.cifar_writer import write_batches

SIZE = 3
"""Images in each batch."""
CLASSES = ["cat", "dog", "ship"]


def batches(size=SIZE, classes=3):
    """Six pairs of random images and labels, always the same."""
    random = np.random.default_rng(0)
    return [
        (random.integers(0, 256, (size, 3, 32, 32), np.uint8), random.integers(0, classes, size, np.uint8))
        for _ in BATCHES
    ]


def sound(folder: Path, class_names=CLASSES) -> Path:
    path = folder / ARCHIVE_NAME
    write_batches(path, batches(classes=len(class_names)), class_names)
    return path


def dumps(value) -> bytes:
    return pickle.dumps(value, 3)


def dumps_as_python_2(value) -> bytes:
    """Pickle a value with the operations that Python 2 and its NumPy write for it."""
    written = []
    for operation, argument, _ in pickletools.genops(pickle.dumps(value, 3)):
        match operation.name:
            case "PROTO":
                written.append(b"\x80\x02")
            case "SHORT_BINBYTES" | "BINUNICODE" | "BINBYTES":
                text = argument.encode() if isinstance(argument, str) else argument
                short = len(text) < 256
                size = struct.pack("<B" if short else "<i", len(text))
                written += [pickle.SHORT_BINSTRING if short else pickle.BINSTRING, size, text]
            case "GLOBAL":
                module, name = argument.split()
                written.append(f"c{module.replace('_core', 'core')}\n{name}\n".encode())
            case "BINPUT" | "BININT" | "BININT1" | "BININT2" | "BINGET" | "LONG_BINPUT" | "LONG_BINGET":
                layout = {"BININT": "<i", "BININT2": "<H", "LONG_BINPUT": "<I", "LONG_BINGET": "<I"}
                written += [operation.code.encode("latin-1"), struct.pack(layout.get(operation.name, "<B"), argument)]
            case _:
                written.append(operation.code.encode("latin-1"))
    return b"".join(written)


def contents():
    """What a sound archive pickles, by member."""
    values = {
        name: {"labels": labels.tolist(), "data": images.reshape(SIZE, 3072)}
        for name, (images, labels) in zip(BATCHES, batches(), strict=True)
    }
    values[META] = {"num_cases_per_batch": SIZE, "label_names": CLASSES}
    return values


def files(dumps=dumps):
    """The files of a sound archive, by name."""
    return {name: dumps(value) for name, value in contents().items()}


def tar(entries, ending=b"\0" * 1024) -> bytes:
    """Write a tar of (name, content) pairs, or of (TarInfo, content) pairs as they are."""
    parts = []
    for name, content in entries:
        member = name
        if isinstance(name, str):
            member = tarfile.TarInfo(name)
            member.size = len(content)
        parts += [member.tobuf(tarfile.GNU_FORMAT), content, b"\0" * (-len(content) % 512)]
    return b"".join(parts) + ending


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def write(folder: Path, data: bytes) -> Path:
    path = folder / ARCHIVE_NAME
    path.write_bytes(data)
    return path


def write_tar(folder: Path, entries) -> Path:
    return write(folder, gzipped(tar(entries)))


def unpacked(path: Path) -> dict[str, bytes]:
    """The files of an archive, read by the standard library."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(path.read_bytes()))) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}
