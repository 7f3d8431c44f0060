"""Read and write the results in a remote: records by key, files by digest."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from pipeline.errors import RemoteError
from pipeline.files.digests import json_digest
from pipeline.files.json_cache import read_sealed, write_sealed
from pipeline.progress.monitor import Monitor
from pipeline.store.record import DAMAGED_NAME, RECORD_NAME, REMOTE_NAME, Record, parsed
from pipeline.store.remote import use
from pipeline.store.remote.objects import Objects, WrongObjectError
from pipeline.store.stage import Stage

RECORD_BYTES = 4 << 20
"""More than a record takes; one of a training has 20 kB."""

MANY = 100
"""Results of a stage, from which on listing the keys that are there is faster than asking for each."""

FRESH = 12 * 3600
"""Seconds for which an object counts as just written, so that nobody removes it meanwhile; see `upkeep.GRACE`."""

MARGIN = 1 << 20
"""Bytes to leave free on the disk."""

KINDS = {
    **dict.fromkeys(("stage", "key", "content_key", "content", "started", "run", "host"), str),
    **dict.fromkeys(("parameters", "code", "inputs", "files", "versions", "measured"), dict),
}
"""Types of a record's entries."""


class Pushed(NamedTuple):
    """The records that a push has written, and the bytes of their files that were not there."""

    records: tuple[Record, ...] = ()
    size: int = 0


def record_object(stage: str, key: str) -> str:
    """Return the name of a record's object."""
    return f"ac/{stage}/{key}"


def failure_object(stage: str, key: str) -> str:
    """Return the name of the object that holds the record of a failure that would happen again."""
    return f"failed/{stage}/{key}"


def file_object(sha256: str) -> str:
    """Return the name of the object that holds a file."""
    return f"cas/{sha256}"


def equal_object(stage: str, content_key: str) -> str:
    """Return the name of the object that holds the key of a result with this content key."""
    return f"equal/{stage}/{content_key}"


Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


def unless_it_fails(
    otherwise: Callable[[], Value],
) -> Callable[[Callable[Concatenate[Remote, Arguments], Value]], Callable[Concatenate[Remote, Arguments], Value]]:
    """Let a method of `Remote` return ``otherwise()`` where the remote fails, or has failed before."""

    def decorated(
        method: Callable[Concatenate[Remote, Arguments], Value],
    ) -> Callable[Concatenate[Remote, Arguments], Value]:
        @functools.wraps(method)
        def tried(self: Remote, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Value:
            if self.has_failed:
                return otherwise()
            try:
                return method(self, *arguments, **named)
            except RemoteError as error:
                self.has_failed = True
                self.say(f"{str(error).rstrip('.')}. Work goes on without it")
                return otherwise()

        return tried

    return decorated


def _none() -> Record | None:
    return None


class Remote:
    """The results that several machines share.

    A remote that fails is named in a warning, and not asked again by this process: ``has_failed`` is true then. A wrong
    object is named, too, and the result to which it belongs counts as missing.

    Parameters
    ----------
    url : str
        For example ``s3://bucket/prefix`` or ``file:///mnt/share/results``.
    writes : bool
        Whether results may be written.
    warn : callable
        Receives each warning.
    memory : Path
        A file that remembers how the remote behaves.
    """

    def __init__(self, url: str, *, writes: bool, warn: Callable[[str], None], memory: Path) -> None:
        self.url, self.writes, self.has_failed = url, writes, False
        self.objects = Objects(url)
        self._warn, self._memory = warn, memory
        self._wrong: set[Path] = set()
        self._there: set[Path] = set()
        self._run = ""

    @unless_it_fails(lambda: None)
    def begin(
        self, run: str, stages: Iterable[Stage], monitor: Monitor, about: Mapping[str, Any] | None = None
    ) -> None:
        """Register the results that a run needs, so that nobody removes them, and find out how the remote writes.

        ``about`` is what other machines are to know of the run.
        """
        if self.writes:
            use.register(self.objects, run, [record_object(stage.name, stage.key) for stage in stages], about or {})
            self._run = run
        use.wait_until_open(self.objects, lambda holder: monitor.log(f"{self.url}: waiting for {holder}"))
        if self.writes and not self._keeps_first():
            self.say(
                "it ignores conditional writes: where two machines finish the same stage at the same time, the record "
                "of the last one counts"
            )

    @unless_it_fails(lambda: None)
    def end(self) -> None:
        """Register the end of the run, if it was registered."""
        if self._run:
            use.end(self.objects, self._run)

    @unless_it_fails(list[dict[str, Any]])
    def under_way(self) -> list[dict[str, Any]]:
        """Return what the runs under way have registered."""
        return use.under_way(self.objects)

    @unless_it_fails(dict[Path, Record])
    def records(self, stages: Iterable[Stage]) -> dict[Path, Record]:
        """Return the records of those stages whose results are in the remote, by the path of the result.

        Of stages that may fail, also the records of failures.
        """
        trusted = [stage for stage in stages if stage.path not in self._wrong]
        failed = self._read({failure_object(stage.name, stage.key): stage for stage in trusted if stage.may_fail})
        return failed | self._read({record_object(stage.name, stage.key): stage for stage in trusted})

    @unless_it_fails(_none)
    def equal(self, stage: Stage, content_key: str) -> Record | None:
        """Return the record of a result with this content key; its key and the keys of its inputs may be others."""
        pointer = equal_object(stage.name, content_key)
        key = (self.objects.get([pointer], len(stage.key)).get(pointer) or b"").decode("ascii", "replace")
        name = record_object(stage.name, key)
        if stage.path in self._wrong or not re.fullmatch("[0-9a-f]{16}", key):
            return None
        content = self.objects.get([name], RECORD_BYTES).get(name)
        record = parsed(content) if content else None
        if record is None or record.content_key != content_key or fault_of_content(record, stage):
            return None
        return record

    @unless_it_fails(lambda: False)
    def download(self, record: Record, path: Path, folder: Path, monitor: Monitor) -> bool:
        """Read the files of a result into a folder; return False, after a warning, if one cannot be had.

        ``path`` is where the result belongs.
        """
        free = shutil.disk_usage(folder).free
        if record.size + MARGIN > free:
            self._distrust(path, f"{record.stage} {record.key} has {record.size} bytes, and {free} are free")
            return False
        report = _Progress(record.size, monitor)
        for name, file in record.files.items():
            item = file_object(file["sha256"])
            try:
                if self.objects.download(item, folder / name, file["bytes"], report.moved) != file["sha256"]:
                    raise WrongObjectError(f"{item} has other content")
            except WrongObjectError as error:
                self._distrust(path, f"{error}; it is {name} of {record.stage} {record.key}")
                return False
            report.before += file["bytes"]
        return True

    @unless_it_fails(Pushed)
    def push(self, results: Mapping[Path, Record], monitor: Monitor) -> Pushed:
        """Write the results that are not there, in this order, from the folders that hold their files."""
        pushed = Pushed()
        if not self.writes:
            return pushed
        names = {path: record_object(record.stage, record.key) for path, record in results.items()}
        for path, record in results.items():
            if record.failure:
                names[path] = failure_object(record.stage, record.key)
        there = self.objects.heads([name for path, name in names.items() if path not in self._there])
        for path, record in results.items():
            if path not in self._there and names[path] not in there:
                pushed = self._push_one(path, record, pushed, monitor)
            self._there.add(path)
        return pushed

    def say(self, fault: str) -> None:
        """Warn of the remote."""
        self._warn(f"{self.url}: {fault}.")

    def _push_one(self, path: Path, record: Record, pushed: Pushed, monitor: Monitor) -> Pushed:
        if damage := record.altered(path):
            self.say(f"{path} is not written to it, because {', '.join(damage)}")
            return pushed
        size = self._upload(path, record, monitor)
        if record.failure:
            self.objects.put(failure_object(record.stage, record.key), record.text.encode())
            return pushed
        if record.content_key != record.key:  # they are the same where there are no inputs
            self._create(equal_object(record.stage, record.content_key), record.key.encode())
        name = record_object(record.stage, record.key)
        if self._create(name, record.text.encode()):
            return Pushed((*pushed.records, record), pushed.size + size)
        return pushed

    def _upload(self, path: Path, record: Record, monitor: Monitor) -> int:
        """Write the files of a result that are not there, or may be removed soon; return their size in bytes."""
        files = {file_object(file["sha256"]): (path / name, file["bytes"]) for name, file in record.files.items()}
        there = self.objects.heads(list(files))
        report = _Progress(record.size, monitor)
        for item, (file, size) in files.items():
            entry = there.get(item)
            if entry is None or entry.size != size or time.time() - entry.modified > FRESH:
                self.objects.upload(item, file, report.moved)
                report.before += size
        return report.before

    def _read(self, wanted: Mapping[str, Stage]) -> dict[Path, Record]:
        """Read records by the names of their objects; warn of wrong ones."""
        found = {}
        for name, content in self.objects.get(self._present(wanted), RECORD_BYTES).items():
            stage, record = wanted[name], parsed(content) if content else None
            fault = fault_of_key(record, stage) or fault_of_content(record, stage)
            if record and not fault and bool(record.failure) == name.startswith("failed/"):
                found[stage.path] = record
            else:
                self._distrust(stage.path, f"{name} {fault or 'is not the record of a result'}")
        return found

    def _create(self, name: str, content: bytes) -> bool:
        """Write a small object if there is none of this name, and return whether that is so."""
        if self._keeps_first():
            return self.objects.create(name, content)
        if self.objects.heads([name]):
            return False
        self.objects.put(name, content)
        return True

    def _keeps_first(self) -> bool:
        """Return whether the second of two conditional writes fails, as it should; tried once for each remote."""
        known = read_sealed(self._memory)
        if self.url not in known:
            name, answers = f"probe/{uuid.uuid4().hex}", list[bool]()
            with contextlib.suppress(RemoteError):  # of a server that refuses a condition which it does not know
                answers += [self.objects.create(name, b"first"), self.objects.create(name, b"second")]
            self.objects.delete([name])
            known |= {self.url: answers == [True, False]}
            write_sealed(self._memory, known)
        return bool(known[self.url])

    def _present(self, wanted: Mapping[str, Stage]) -> list[str]:
        """Leave out names that are not there, where listing those that are is faster than asking for each."""
        counts = Counter(stage.name for stage in wanted.values())
        many = {stage for stage, count in counts.items() if count > MANY}
        folders = {name.rpartition("/")[0] for name, stage in wanted.items() if stage.name in many}
        listed = {name for folder in folders for name in self.objects.entries(folder)}
        return [name for name, stage in wanted.items() if stage.name not in many or name in listed]

    def _distrust(self, path: Path, fault: str) -> None:
        self._wrong.add(path)
        self.say(f"{fault}. The result is not used; `make verify REMOTE={self.url}` removes what is wrong there")


class _Progress:
    """Reports the bytes of several files as one."""

    def __init__(self, total: int, monitor: Monitor) -> None:
        self.before, self._total, self._monitor = 0, total, monitor

    def moved(self, done: int) -> None:
        self._monitor.progress(self.before + done, self._total, "B")


def fault_of_key(record: Record | None, stage: Stage) -> str | None:
    """Return what is wrong with the record that should be that of a stage's key; None for a right one."""
    if record is None:
        return "is not the record of a result"
    if (record.stage, record.key) != (stage.name, stage.key):
        return "is the record of another result"
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        keys = {name: (source["stage"], source["key"]) for name, source in record.inputs.items()}
        contents = {name: source["content"] for name, source in record.inputs.items()}
        expected = {name: (source.name, source.key) for name, source in stage.inputs.items()}
        if keys == expected and record.content_key == stage.content_key(contents):
            return None
    return "has other inputs than its key"


def fault_of_content(record: Record | None, stage: Stage) -> str | None:
    """Return what is wrong with a record that should be of a stage's parameters and code; None for a right one."""
    if record is None or not all(isinstance(getattr(record, name), kind) for name, kind in KINDS.items()):
        return "is not the record of a result"
    if json_digest(record.parameters) != json_digest(dict(stage.parameters)) or record.code != stage.code:
        return "has other parameters or code than its key"
    return None if record.failure else fault_of_files(record.files, record.content)


def fault_of_files(files: Mapping[str, Any], content: str) -> str | None:
    """Return what is wrong with the files that a record names; None where each can be a file of a result."""
    for name, file in files.items():
        is_name = Path(name).name == name and name.isprintable() and not name.startswith(".")
        if not is_name or name in (RECORD_NAME, DAMAGED_NAME, REMOTE_NAME):
            return f"names a file {name!r}"
        size, digest = (file.get("bytes"), file.get("sha256")) if isinstance(file, dict) else (None, None)
        if type(size) is not int or size < 0 or not re.fullmatch("[0-9a-f]{64}", str(digest)):
            return f"has no size and digest for {name}"
    is_right = content == json_digest({name: file["sha256"] for name, file in files.items()})
    return None if is_right else "has other files than its digest"
