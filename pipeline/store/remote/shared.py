"""Read and write the results in a remote: records by key, files by digest."""

from __future__ import annotations

import contextlib
import functools
import mmap
import re
import shutil
import struct
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from pipeline.errors import RemoteError
from pipeline.files.json_cache import read_sealed, write_sealed
from pipeline.progress.monitor import Monitor
from pipeline.store.record import Record
from pipeline.store.remote import use
from pipeline.store.remote.checks import KEY, fault_of_content, fault_of_key, fault_of_outcome, record_of
from pipeline.store.remote.objects import Objects, RefusedError, WrongObjectError
from pipeline.store.stage import Stage

RECORD_BYTES = 4 << 20
"""More than a record takes; one of a training has 20 kB."""

MANY = 100
"""Results of a stage, from which on listing the keys that are there is faster than asking for each."""

FRESH = 12 * 3600
"""Seconds for which an object counts as just written, so that nobody removes it meanwhile; see `upkeep.GRACE`."""

PAUSE = 300.0
"""Seconds for which nothing asks a remote that has failed: to find out that it still gives no answer takes 20 s."""

MARGIN = 1 << 20
"""Bytes to leave free on the disk."""


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


def object_of(record: Record) -> str:
    """Return the name of the object that holds a record."""
    name = failure_object if record.failure else record_object
    return name(record.stage, record.key)


def record_at(name: str, content: bytes | None) -> Record | None:
    """Return the record that is the content of an object; None for a wrong one, or that of another name."""
    record = record_of(content)
    return record if record and not fault_of_outcome(record) and name == object_of(record) else None


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
                self.note_failure()
                self.say(f"{str(error).rstrip('.')}. Work goes on without it")
                return otherwise()

        return tried

    return decorated


def _none() -> Record | None:
    return None


class Remote:
    """The results that several machines share.

    A remote that fails is named in a warning, and not asked for some minutes, neither by this process nor by those that
    are forked from it: ``has_failed`` is true then. A wrong object is named, too, and the result to which it belongs
    counts as missing.

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
        self.url, self.writes = url, writes
        self._connect = functools.partial(Objects, url, creates=writes)
        self.objects = self._connect()
        self._failed_at = mmap.mmap(-1, 8)  # seconds; forked processes share it
        self._warn, self._memory = warn, memory
        self._wrong: set[Path] = set()
        self._there: set[Path] = set()
        self._apart: set[str] = set()  # objects that are not written, since nobody else could use them
        self._registration: use.Registration | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the remote has failed in the last minutes."""
        (failed_at,) = struct.unpack("d", self._failed_at[:])
        return bool(failed_at) and time.monotonic() - failed_at < PAUSE

    def note_failure(self) -> None:
        """Let no process of this run ask the remote for some minutes."""
        self._failed_at[:] = struct.pack("d", time.monotonic())

    @unless_it_fails(lambda: None)
    def begin(
        self, run: str, stages: Iterable[Stage], monitor: Monitor, about: Mapping[str, Any] | None = None
    ) -> None:
        """Register the results that a run needs, so that nobody removes them, and find out how the remote writes.

        ``about`` is what other machines are to know of the run.
        """
        refused = None
        if self.writes:
            needs = [record_object(stage.name, stage.key) for stage in stages]
            registration = use.Registration(self._connect, run, needs, about or {})
            try:
                registration.begin(self.objects)
                self._registration = registration
            except RefusedError as error:
                refused = error
        use.wait_until_open(self.objects, lambda holder: monitor.log(f"{self.url}: waiting for {holder}"))
        if refused:  # reading was not
            self.writes = False
            self.say(f"{str(refused).rstrip('.')}. Results are only taken from it, as with remote_mode = read")
        elif self.writes and not self._keeps_first:
            self.say(
                "it ignores conditional writes: where two machines finish the same stage at the same time, the record "
                "of the last one counts"
            )

    @unless_it_fails(lambda: None)
    def end(self) -> None:
        """Register the end of the run, if it was registered."""
        if self._registration:
            self._registration.end(self.objects)

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
        if stage.path in self._wrong or not re.fullmatch(KEY, key):
            return None
        record = record_of(self.objects.get([name], RECORD_BYTES).get(name))
        if record is None or (record.stage, record.key, record.content_key) != (stage.name, key, content_key):
            return None
        return None if record.failure or fault_of_content(record, stage) else record

    @unless_it_fails(lambda: False)
    def download(self, record: Record, path: Path, folder: Path, monitor: Monitor) -> bool:
        """Read the files of a result into a folder; return False, after a warning, if one cannot be had.

        ``path`` is where the result belongs.
        """
        free = shutil.disk_usage(folder).free
        if record.size + MARGIN > free:
            self._wrong.add(path)
            self.say(f"{record.stage} {record.key} has {record.size} bytes, and {free} are free here. It is not used")
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
        names = {path: object_of(record) for path, record in results.items()}
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
        if self._has_other_inputs(path, record):
            self._apart.add(object_of(record))
            return pushed
        size = self._upload(path, record, monitor)
        if record.failure:
            self.objects.put(object_of(record), record.text.encode())
            return pushed
        if record.content_key != record.key:  # they are the same where there are no inputs
            self._create(equal_object(record.stage, record.content_key), record.key.encode())
        if self._create(object_of(record), record.text.encode()):
            return Pushed((*pushed.records, record), pushed.size + size)
        return pushed

    def _has_other_inputs(self, path: Path, record: Record) -> bool:
        """Return whether a result comes from others than those there, as after a forced stage; warn of the first such.

        The keys are the same. Another machine would take the inputs from there, and then have no use for the result.
        """
        sources = {record_object(source["stage"], source["key"]): source for source in record.inputs.values()}
        if not self._apart.isdisjoint(sources):
            return True
        for name, content in self.objects.get(sources, RECORD_BYTES).items():
            there = record_at(name, content)
            if there and there.content != sources[name]["content"]:
                other = sources[name]["stage"]
                self.say(f"{path} is not written to it, nor what comes from it: its {other} is another than that there")
                return True
        return False

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
            stage, record = wanted[name], record_of(content)
            if record is None or bool(record.failure) != name.startswith("failed/"):
                self._distrust(stage.path, f"{name} is not the record of a result")
            elif fault := fault_of_key(record, stage) or fault_of_content(record, stage):
                self._distrust(stage.path, f"{name} {fault}")
            else:
                found[stage.path] = record
        return found

    def _create(self, name: str, content: bytes) -> bool:
        """Write a small object if there is none of this name, and return whether that is so."""
        if self._keeps_first:
            return self.objects.create(name, content)
        if self.objects.heads([name]):
            return False
        self.objects.put(name, content)
        return True

    @functools.cached_property
    def _keeps_first(self) -> bool:
        """Whether the second of two conditional writes fails, as it should; tried once for each remote."""
        known = read_sealed(self._memory)
        if self.url not in known:
            name, keeps_first = f"probe/{uuid.uuid4().hex}", False
            self.objects.put(name, b"first")  # it fails where the remote fails, whatever that thinks of conditions
            with contextlib.suppress(RemoteError):  # of a server that refuses a condition which it does not know
                keeps_first = not self.objects.create(name, b"second")
            self.objects.delete([name])
            known |= {self.url: keeps_first}
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
