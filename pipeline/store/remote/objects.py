"""Read and write the objects of a remote, through a child process that moves the bytes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import subprocess
import sys
import weakref
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import RemoteError
from pipeline.web.urls import without_secrets

PATIENCE = 60.0
"""Seconds without a byte, after which a remote counts as dead: as much as a part of 5 MB takes at 85 kB/s."""

AT_ONCE = 500
"""Small objects to read with one request to the child, whose answer has 13 MB then."""


class WrongObjectError(RemoteError):
    """One object is missing or has another size; the others may be right."""


class RefusedError(RemoteError):
    """The credentials do not allow a request; they may allow others."""


class Entry(NamedTuple):
    """The size of an object in bytes, and when it was written, in seconds since 1970 by the remote's clock."""

    size: int
    modified: float


def _ignore(_moved: int) -> None:
    """Ignore a report of progress."""


class Objects:
    """The objects of a remote, by name. Each method raises `RemoteError` where the remote fails.

    The child process starts with the first request of this process, and ends with it. A process that was forked from
    this one starts its own. With ``creates`` it creates a folder that is not there yet.
    """

    def __init__(self, url: str, *, creates: bool) -> None:
        self._arguments = [url, *(["creates"] if creates else [])]
        self._child: _Child | None = None

    def get(self, names: Collection[str], limit: int) -> dict[str, bytes | None]:
        """Read small objects by name; a missing one is left out, and one of more bytes than ``limit`` is None."""
        found: dict[str, bytes | None] = {}
        waiting = iter(names)
        while batch := list(itertools.islice(waiting, AT_ONCE)):
            for name, content in self._ask("get", names=batch, limit=limit).items():
                found[name] = None if content is None else b64decode(content)
        return found

    def heads(self, names: Collection[str]) -> dict[str, Entry]:
        """Return what is known of objects by name; a missing one is left out."""
        return _entries(self._ask("heads", names=list(names)) if names else {})

    def entries(self, prefix: str) -> dict[str, Entry]:
        """Return what is known of all objects whose names begin with a folder's name, by name."""
        return _entries(self._ask("entries", prefix=prefix))

    def put(self, name: str, content: bytes) -> None:
        """Write a small object."""
        self._ask("put", name=name, content=b64encode(content).decode(), create=False)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object if there is none of this name, and return whether that is so."""
        return bool(self._ask("put", name=name, content=b64encode(content).decode(), create=True))

    def upload(self, name: str, path: Path, report: Callable[[int], None] = _ignore) -> None:
        """Write an object with the content of a file; ``report`` receives the number of bytes that are sent."""
        self._ask("upload", report, name=name, path=str(path.absolute()))

    def download(self, name: str, path: Path, size: int, report: Callable[[int], None] = _ignore) -> str:
        """Read an object into a file and return its SHA-256; an object of another size is an error.

        Raise OSError where the disk is full.
        """
        return str(self._ask("download", report, name=name, path=str(path.absolute()), size=size))

    def digest(self, name: str, size: int, report: Callable[[int], None] = _ignore) -> str:
        """Read an object and return its SHA-256; an object of another size is an error."""
        return str(self._ask("digest", report, name=name, size=size))

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects, and ignore missing ones."""
        self._ask("delete", names=list(names))

    def _ask(self, action: str, report: Callable[[int], None] = _ignore, **arguments: Any) -> Any:
        if self._child is None or not self._child.is_usable():
            self._child = _Child(self._arguments)
        return self._child.ask({"do": action, **arguments}, report)


def _entries(found: dict[str, list[float]]) -> dict[str, Entry]:
    return {name: Entry(int(size), modified) for name, (size, modified) in found.items()}


class _Child:
    """The child process, and the pipes to it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        if not find_spec("obstore"):
            raise RemoteError("the package obstore is not installed; type `make .venv/base`")
        self._owner = os.getpid()
        self._unread = b""
        self._process = subprocess.Popen(  # noqa: S603, a program of ours
            [sys.executable, "-m", "pipeline.store.remote.process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._end = weakref.finalize(self, _end, self._process, self._owner)

    def is_usable(self) -> bool:
        """Return whether this process may send a request: not after a failure, nor as a fork of the one that did."""
        return self._owner == os.getpid() and self._end.alive

    def ask(self, request: dict[str, Any], report: Callable[[int], None]) -> Any:
        try:
            self._send(request)
            while "moved" in (answer := self._receive()):
                report(answer["moved"])
        except BaseException:
            self._end()  # the rest of the answer would be taken for that to the next request
            raise
        if "error" in answer:
            raise RemoteError(without_secrets(answer["error"]))
        if "refused" in answer:
            raise RefusedError(without_secrets(answer["refused"]))
        if "wrong" in answer:
            raise WrongObjectError(answer["wrong"])
        if "full" in answer:
            raise OSError(answer["full"], os.strerror(answer["full"]), request["path"])
        return answer["value"]

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # of a dead process, which `_receive` reports
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        descriptor, pieces = self._process.stdout.fileno(), [self._unread]
        while b"\n" not in pieces[-1]:
            if not select.select([descriptor], [], [], PATIENCE)[0]:
                raise RemoteError(f"no byte came or went for {PATIENCE:.0f} seconds")
            pieces.append(os.read(descriptor, 1 << 16))
            if not pieces[-1]:
                raise RemoteError("the process that talks to it has died")
        line, _, self._unread = b"".join(pieces).partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _end(child: subprocess.Popen[bytes], owner: int) -> None:
    """End the child process, unless this process is a fork of the one that started it."""
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):
            assert pipe
            pipe.close()
    if os.getpid() == owner:
        child.kill()
        child.wait()
