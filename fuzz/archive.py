"""Feed the readers of the archive with millions of corrupted inputs: ``python fuzz/archive.py TARGET --inputs N``.

Atheris chooses the inputs by the code that they reach. One that raises anything but `ArchiveError`, takes longer than
`SECONDS` or more memory than `MEGABYTES` ends the run with a traceback; it is kept in .cache/fuzz/ as
TARGET-crash-..., and ``python fuzz/archive.py TARGET FILE`` tries it again.

| target | an input is |
| --- | --- |
| pickle | a pickle |
| gzip | a gzipped tar |
| tar | a tar, its checksums put right and gzipped before it is read |
| batch | a pickle in an archive that is otherwise sound, in place of a batch or, by its first byte, of batches.meta |
"""

from __future__ import annotations

import argparse
import gzip
import io
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import atheris
import numpy as np

import pipeline  # noqa: F401, its finder of modules would come before that of Atheris, and nothing be instrumented

with atheris.instrument_imports(include=["pipeline"]):
    from pipeline.data import cifar, pickles
    from pipeline.data.tar import GzippedTar
    from pipeline.errors import ArchiveError

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import archives
from tests.archives import dumps, dumps_as_python_2

SECONDS = 2
MEGABYTES = 400
LENGTH = 4096
"""Most bytes of an input: nothing is read in larger pieces, so that longer inputs would find no other fault."""
FOLDER = Path(".cache/fuzz")
BLOCK = 512


def read_pickle(data: bytes) -> None:
    pickles.loads(data)


def read_gzip(data: bytes) -> None:
    archive = GzippedTar(io.BytesIO(data))
    for member in archive:
        with suppress(ArchiveError):
            archive.read(member, limit=1000)
    archive.sha256()


def read_tar(data: bytes) -> None:
    tar = bytearray(data)
    for start in range(0, len(tar) - BLOCK + 1, BLOCK):
        header = tar[start : start + BLOCK]
        if any(header):
            tar[start + 148 : start + 156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    read_gzip(gzip.compress(bytes(tar), 0))


class ReadBatch:
    """Reads the data as a member of an archive; the others are sound."""

    def __init__(self) -> None:
        self._files = small_files()
        self._path = FOLDER / cifar.ARCHIVE_NAME

    def __call__(self, data: bytes) -> None:
        name = cifar.META if data[:1] == b"m" else cifar.TRAIN_BATCHES[2]
        files = {name: data[1:]} | {other: sound for other, sound in self._files.items() if other != name}
        tar = archives.tar(files.items())
        self._path.write_bytes(gzip.compress(tar, 0))
        cifar.read_archive(self._path, len)


def small_batch() -> dict[str, object]:
    """Return a batch of one image, whose pixels are most of its bytes."""
    return {"labels": [0], "data": np.zeros((1, cifar.VALUES), np.uint8), "filenames": ["a.png"]}


def small_files() -> dict[str, bytes]:
    """Return the files of an archive with one image in each batch."""
    meta = {"num_cases_per_batch": 1, "label_names": ["cat", "dog"]}
    return {name: dumps(small_batch()) for name in cifar.BATCHES} | {cifar.META: dumps(meta)}


def seeds(target: str) -> list[bytes]:
    """Sound inputs to start from."""
    files = small_files()
    batch, meta = files[cifar.TRAIN_BATCHES[2]], files[cifar.META]
    varied = {
        "text": ["a", "\xff", "x" * 300],
        "bytes": [b"", b"\xff"],
        "numbers": [255, 65536, -1, 2**40],
        "none": [None],
    }
    arrays = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [np.int64(7)], "float": np.float32([0.5])}
    values = [small_batch(), varied, arrays]
    tar = archives.tar([("folder/a", b"alpha" * 60), ("folder/b", b""), ("folder/c", bytes(range(200)))])
    return {
        "pickle": [
            *(pickle.dumps(value, protocol) for value in values for protocol in (2, 3, 4, 5)),
            *(dumps_as_python_2(value) for value in ({"a": ["b", 1]}, small_batch())),
        ],
        "gzip": [gzip.compress(tar, level, mtime=0) for level in (0, 1, 9)] + [archives.gzipped(b"") * 3],
        "tar": [tar, archives.tar([])],
        "batch": [b"b" + batch, b"m" + meta],
    }[target]


TARGETS = {"pickle": read_pickle, "gzip": read_gzip, "tar": read_tar, "batch": ReadBatch()}


def main() -> None:
    """Run until an input fails or all are done; Atheris ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("file", nargs="?", type=Path, help="an input that failed, to try again")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=1, help="of the generator that spoils them (default: %(default)d)")
    given = parser.parse_args()
    read = TARGETS[given.target]
    corpus = FOLDER / given.target
    corpus.mkdir(parents=True, exist_ok=True)

    def reads_or_refuses(data: bytes) -> None:
        with suppress(ArchiveError):
            read(data)

    if given.file:
        reads_or_refuses(given.file.read_bytes())
        return
    for number, seed in enumerate(seeds(given.target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0],
            f"-runs={given.inputs}",
            f"-seed={given.seed}",
            f"-max_len={LENGTH}",
            f"-timeout={SECONDS}",
            f"-rss_limit_mb={MEGABYTES}",
            f"-artifact_prefix={FOLDER}/{given.target}-",
            "-print_final_stats=1",
            "-verbosity=0",
            str(corpus),
        ],
        reads_or_refuses,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
