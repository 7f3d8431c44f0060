"""The record beside a result: its inputs, parameters, code and files; where records lie, and which are upstream."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.files.digests import file_digest, json_digest

RECORD_NAME = "stage.json"
DAMAGED_NAME = "damaged.json"
"""The name of the record of a withdrawn result."""
REMOTE_NAME = "remote.json"
"""The name of the record of a result whose files are not here, but in the remote."""
FAILED_NAME = "failed.json"
"""The name of the record of a failure that would happen again; it lists no files."""
NAMES = (RECORD_NAME, REMOTE_NAME, DAMAGED_NAME, FAILED_NAME)
FAILURE = "failure"
"""The measurement that is the message of a failure."""
BEGINNING_BYTES = 512
"""Bytes at the beginning of a record that hold its stage, key and content key."""

Outcome = Literal["computed", "adopted", "reused"]
"""How a stage came to its result."""

_PARSED: dict[bytes, Record | None] = {}
"""The records that this process has read, by the digests of their files: a run reads each several times."""
MOST_PARSED = 50_000
"""Most records to keep: a sweep of ten thousand trials has twenty thousand, which take 100 MB."""


@dataclass(frozen=True)
class Record:
    """The origin and the content of a result; written beside it, and read before the result is used.

    Parameters
    ----------
    content_key : str
        The key with the contents of the inputs in place of their keys: equal for results that can be adopted.
    inputs : dict
        The stage, the key and the content of each input.
    files : dict
        The size (``bytes``) and the ``sha256`` of each file.
    content : str
        The digest of all files.
    measured : dict
        Measurements that the function returned, or its ``failure``.
    adopted_from : str, optional
        The key of the computed result from which this one was adopted.
    seal : str
        The digest of the record itself.
    """

    stage: str
    key: str
    content_key: str
    parameters: dict[str, Any]
    code: dict[str, str]
    inputs: dict[str, dict[str, str]]
    files: dict[str, dict[str, Any]]
    content: str
    started: str
    seconds: float
    run: str
    host: str
    versions: dict[str, str]
    measured: dict[str, Any]
    adopted_from: str | None = None
    seal: str = ""

    def sealed(self) -> Record:
        """Return the record with a digest of its own, by which `read` finds damage."""
        return replace(self, seal=self._digest())

    def write(self, folder: Path, name: str = RECORD_NAME) -> None:
        """Write the record beside its result."""
        (folder / (FAILED_NAME if self.failure else name)).write_text(self.text)

    def adopted(self, key: str, inputs: dict[str, dict[str, str]], run: str) -> Record:
        """Return the record of a result of another key and other inputs that a run adopts from this one."""
        adopted_from = self.adopted_from or self.key
        return replace(self, key=key, inputs=inputs, run=run, adopted_from=adopted_from).sealed()

    @property
    def text(self) -> str:
        """The content of the record's file."""
        return json.dumps(vars(self), indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path, name: str = RECORD_NAME) -> Record | None:
        """Read the record of a result; None where it is missing or damaged."""
        try:
            return parsed((folder / name).read_bytes())
        except OSError:
            return None

    @classmethod
    def known(cls, folder: Path) -> Record | None:
        """Read the record of a result, or of one whose files are in the remote; None where there is neither."""
        return cls.read(folder) or cls.read(folder, REMOTE_NAME)

    @classmethod
    def read_any(cls, folder: Path) -> Record | None:
        """Read the record of a result, also of a damaged one, or of a failure."""
        return next(filter(None, (cls.read(folder, name) for name in NAMES)), None)

    @property
    def failure(self) -> str | None:
        """The message of a failure that would happen again; None in the record of a result."""
        return self.measured.get(FAILURE)

    def number(self, name: str) -> float | None:
        """Return a measurement; None where the function measured no number of this name."""
        value = self.measured.get(name)
        return value if isinstance(value, int | float) else None

    @property
    def size(self) -> int:
        """Bytes in all of the result's files."""
        return sum(file["bytes"] for file in self.files.values())

    def outcome(self, run: str) -> Outcome:
        """Return how a stage came to this result in a run."""
        if self.run != run:
            return "reused"
        return "adopted" if self.adopted_from else "computed"

    def problems(self, folder: Path) -> list[str]:
        """Name the files that are missing or have another size than recorded."""
        found = []
        for name, expected in self.files.items():
            try:
                size = (folder / name).stat().st_size
            except OSError:
                found.append(f"{name} is missing")
                continue
            if size != expected["bytes"]:
                found.append(f"{name} has {size} bytes, not {expected['bytes']}")
        return found

    def altered(self, folder: Path) -> list[str]:
        """Name the files that no longer have the recorded content; reads all of them."""
        if problems := self.problems(folder):
            return problems
        found = []
        for name, expected in self.files.items():
            try:
                if file_digest(folder / name) != expected["sha256"]:
                    found.append(f"{name} has other content than it had")
            except OSError as error:  # the disk is failing, or another process has just removed the result
                found.append(f"{name} cannot be read: {error.strerror}")
        return found

    def withdraw(self, folder: Path) -> None:
        """Mark a result as damaged, unless another has replaced it; the next run makes it again."""
        if Record.read(folder) == self:
            with contextlib.suppress(FileNotFoundError):  # another process has just done so
                (folder / RECORD_NAME).rename(folder / DAMAGED_NAME)

    def _digest(self) -> str:
        return json_digest({**vars(self), "seal": ""})


def parsed(content: bytes) -> Record | None:
    """Return a record from the content of its file; None where it is damaged."""
    digest = hashlib.sha256(content).digest()
    if digest not in _PARSED:
        if len(_PARSED) == MOST_PARSED:
            _PARSED.clear()
        _PARSED[digest] = _checked(content)
    return _PARSED[digest]


def _checked(content: bytes) -> Record | None:
    try:
        values = json.loads(content)
        record = Record(**{**values, "code": _shared(tuple(values["code"].items()))})
        return record if record.seal == record._digest() else None
    except (AttributeError, KeyError, RecursionError, ValueError, TypeError):
        return None


@functools.lru_cache(maxsize=100)
def _shared(code: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return one dict for equal ones: where an engine trains, the code is nine tenths of a record."""
    return dict(code)


def result_folders(folder: Path) -> Iterator[Path]:
    """List the folders of all results of all stages in a folder, damaged ones too, and nothing else there."""
    for path in sorted(folder.glob("*/*/")):
        is_result = re.fullmatch("[A-Z][^/]*/[0-9a-f]{16}", f"{path.parent.name}/{path.name}")
        if is_result and not path.parent.is_symlink():
            yield path


def record_name(path: Path) -> str | None:
    """Return the name of a result's record, even of a damaged one; without a record nothing can use the result."""
    return next((name for name in NAMES if (path / name).is_file()), None)


def with_content_key(folder: Path, content_key: str) -> list[Path]:
    """List the folders of results in the folder of a stage whose records seem to have this content key.

    It reads only the beginnings of the records, and each once: a sweep has ten thousand, and asks for each training.
    """
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if _content_key(entry.path, entry.inode()) == content_key]


@functools.lru_cache(maxsize=MOST_PARSED)
def _content_key(folder: str, _inode: int) -> str | None:
    """Return the content key at the beginning of a record; a result that is made again is another inode."""
    try:
        descriptor = os.open(f"{folder}/{RECORD_NAME}", os.O_RDONLY)
    except OSError:
        return None
    try:
        found = re.search(rb'"content_key": "([0-9a-f]+)"', os.read(descriptor, BEGINNING_BYTES))
    finally:
        os.close(descriptor)
    return found[1].decode() if found else None


def upstream_records(paths: Iterable[Path], folders: Sequence[Path]) -> dict[Path, Record | None]:
    """Return the records of the results at some paths, and of all results upstream in some folders, the nearest first.

    A missing result is left out.
    """
    found: dict[Path, Record | None] = {}
    waiting = deque(path.resolve() for path in paths)
    while waiting:
        path = waiting.popleft()
        if path not in found and path.is_dir():
            found[path] = record = Record.read_any(path)
            sources = record.inputs.values() if record else ()
            waiting += [
                (folder / source["stage"] / source["key"]).resolve() for source in sources for folder in folders
            ]
    return found
