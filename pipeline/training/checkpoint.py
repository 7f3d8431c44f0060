"""Checkpoints: what a training that was broken off needs to go on from its last epoch, to the same bytes.

That is each weight, its velocity, and what was measured of the epochs so far. No generator's state is
among it: the initial weights are all that training draws, and minibatches come in file order.

A checkpoint is a file, ``epoch-3.h5``, which begins with the SHA-256 of what follows. No epoch waits
until it is on the disk, which would double its cost: a process that is killed loses nothing that it wrote,
and after a power cut the digest tells whether a file is whole.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pipeline.files.whole_file import replacing
from pipeline.networks.weights import Weights
from pipeline.progress.monitor import Monitor

SEAL_SIZE = 512
"""Bytes in front of what HDF5 reads; it looks for its beginning there, and at no smaller offset but 0."""


@dataclass(frozen=True)
class Checkpoint:
    """A training after some of its epochs.

    Parameters
    ----------
    weights, velocity : dict
        What an engine's `trainer` goes on from; no velocity before the first epoch.
    epochs : list of list of float
        For each epoch its training loss, validation loss, validation accuracy, and seconds.
    """

    weights: Weights
    velocity: Weights | None
    epochs: list[list[float]]


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Keep a checkpoint, and of those before it only the last, to fall back on.

    Raises
    ------
    OSError
        It cannot be written; the ones before it are still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = len(checkpoint.epochs)
    with replacing(_path(folder, number)) as temporary:
        temporary.write_bytes(_sealed(_to_hdf5(checkpoint)))
    for other, path in _listed(folder):
        if other not in (number, number - 1):
            path.unlink()


def newest(folder: Path, most: int, monitor: Monitor) -> Checkpoint | None:
    """Read the checkpoint of the last epoch up to ``most``; of damaged ones tell the monitor, and pass over them."""
    for number, path in sorted(_listed(folder), reverse=True):
        if number > most:
            continue
        content = path.read_bytes()
        if content[:SEAL_SIZE] == _seal(content[SEAL_SIZE:]):
            return _from_hdf5(content)
        monitor.say(f"{path} is damaged: its SHA-256 is not the one that was written into it. It is not used.")
    return None


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch}.h5"


def _listed(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob("epoch-*.h5"):
        if found := re.fullmatch(r"epoch-(\d+)\.h5", path.name):
            yield int(found[1]), path


def _sealed(content: bytes) -> bytes:
    return _seal(content) + content


def _seal(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode().ljust(SEAL_SIZE, b"\n")


def _to_hdf5(checkpoint: Checkpoint) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for part in ("weights", "velocity"):
            for name, values in getattr(checkpoint, part).items():
                file[f"{part}/{name}"] = values
        file["epochs"] = np.array(checkpoint.epochs, np.float64)
    return buffer.getvalue()


def _from_hdf5(content: bytes) -> Checkpoint:
    with h5py.File(io.BytesIO(content), "r") as file:
        names: list[str] = []
        file["weights"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        weights, velocity = ({name: file[part][name][()] for name in names} for part in ("weights", "velocity"))
        return Checkpoint(weights, velocity, file["epochs"][()].tolist())
