"""Read HDF5 files without trusting them.

An HDF5 file may point to values in other files, and may claim any number of values. These functions accept only values
that lie in the file itself and in one piece, as this program writes them, so that memory grows with the file's size
alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from pipeline.errors import PipelineError


@contextmanager
def reading(path: Path, kind: type[PipelineError], advice: str) -> Iterator[h5py.File]:
    """Open a file for reading; errors in the ``with`` block are raised as `errors_as` raises them."""
    with errors_as(path, kind, advice), h5py.File(path, "r") as file:
        yield file


@contextmanager
def errors_as(path: Path, kind: type[PipelineError], advice: str) -> Iterator[None]:
    """Raise errors of reading a file as errors of one kind, whose messages begin with the path and end with the advice.

    These are errors of a missing or damaged file, and those of this kind from the block.
    """
    try:
        yield
    except FileNotFoundError:
        raise kind(f"{path} is not there. Type `make pipeline` to make it.") from None
    except kind as error:
        raise kind(f"{path}: {error} {advice}") from None
    except (KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise kind(f"{path} cannot be read as HDF5 ({cause(error)}). {advice}") from None


def cause(error: Exception) -> str:
    """Return the cause of an error, its first line, without the addresses and times that HDF5 appends."""
    known = isinstance(error, OSError) and error.errno
    text = os.strerror(known) if known else str(error).partition("\n")[0]
    if "signature not found" in text:
        return "it is not an HDF5 file"
    if "truncated file" in text:
        return "it is cut off"
    return text.removeprefix("Unable to synchronously open file ").removeprefix("Unable to synchronously open object ")


def find(file: h5py.File, name: str, kind: type[PipelineError]) -> h5py.Dataset | None:
    """Return the data set of this name; None if it is missing or a link to another place.

    An error of the given kind is raised unless its values lie in one piece in the file itself.
    """
    group = file
    *groups, last = name.split("/")
    for part in groups:
        if not _is_own(group, part, h5py.Group):
            return None
        group = group[part]
    if not _is_own(group, last, h5py.Dataset):
        return None
    if problem := _misplaced(group[last]):
        raise kind(f"{name!r} {problem}; expected them in one piece.")
    return group[last]


def _misplaced(dataset: h5py.Dataset) -> str | None:
    if dataset.is_virtual or dataset.external:
        return "has its values in another file"
    if dataset.chunks or dataset.compression:
        return "has its values in chunks"
    if dataset.dtype.hasobject or dataset.size is None or dataset.id.get_storage_size() != dataset.nbytes:
        return "does not have as many values as its shape requires"
    return None


def unexpected(group: h5py.Group, expected: set[str]) -> str | None:
    """Return the name of a member of the group, or of a group in it, that is not an expected data set."""
    groups = {name.rpartition("/")[0] for name in expected}
    for outer in group:
        if outer in expected:
            continue
        if outer not in groups or not _is_own(group, outer, h5py.Group):
            return str(outer)
        for inner in group[outer]:
            if f"{outer}/{inner}" not in expected:
                return f"{outer}/{inner}"
    return None


def _is_own(group: h5py.Group, name: str, kind: type) -> bool:
    return isinstance(group.get(name, getlink=True), h5py.HardLink) and group.get(name, getclass=True) is kind
