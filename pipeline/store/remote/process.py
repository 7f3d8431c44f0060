"""Move bytes to and from an object store with obstore, in a process of its own.

obstore runs on tokio, whose threads do not survive a fork: in a worker process that Luigi forks, a request would wait
for ever. And a process that waits too long can be killed, whatever it waits for.

Requests and answers are lines of JSON, on stdin and stdout. A request is ``{"do": NAME, ...}`` with the arguments of a
method of `Requests`. Its answers are any number of ``{"moved": bytes}``, and then one of these::

    {"value": ...}
    {"wrong": message}    an object is missing or has another size
    {"refused": message}  the credentials do not allow it
    {"full": errno}       the disk of this machine, not the remote
    {"error": message}
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import signal
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, from_url

from pipeline.errors import NO_SPACE
from pipeline.store.remote.credentials import has_credentials, s3_settings

CHUNK = 1 << 20
"""Bytes of a file between two reports of progress."""
PART = 5 << 20
"""Bytes of a part of an upload: the least that S3 admits."""
AT_ONCE = 16
"""Requests for small objects that are sent at the same time."""

CLIENT = {
    "connect_timeout": timedelta(seconds=10),
    "read_timeout": timedelta(seconds=20),
    "timeout": timedelta(hours=12),  # for a whole file; by default 30 s
}
RETRIES = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=2), "base": 2},
}

NO_BUCKET = re.compile("<Code>(NoSuchBucket|ContainerNotFound)</Code>")
"""What S3, Google and Azure say where not only an object is missing."""

Value = TypeVar("Value")


class UnusableError(Exception):
    """The store cannot be opened."""


class WrongObjectError(Exception):
    """An object has not the size that it should have."""


class Requests:
    """The requests that the process answers."""

    def __init__(self, url: str, *, creates: bool) -> None:
        self._store: Any = _open(url, creates=creates)

    def get(self, names: list[str], limit: int) -> dict[str, str | None]:
        """Read small objects, as base64 by name; a missing one is left out, and one above the limit is None."""

        def content(name: str) -> str | None:
            with suppress(WrongObjectError):
                return b64encode(b"".join(self._chunks(name, limit))).decode()
            return None

        return _for_each(names, content)

    def heads(self, names: list[str]) -> dict[str, tuple[int, float]]:
        """Return sizes, and times in seconds since 1970; a missing object is left out."""
        return _for_each(names, lambda name: _about(obstore.head(self._store, name)))

    def entries(self, prefix: str) -> dict[str, tuple[int, float]]:
        """Return sizes and times of all objects below a prefix, by name."""
        found: dict[str, tuple[int, float]] = {}
        for page in obstore.list(self._store, prefix):
            found |= {entry["path"]: _about(entry) for entry in page}
            _answer(moved=len(found))
        return found

    def put(self, name: str, content: str, create: bool) -> bool:
        """Write a small object; with ``create`` only if there is none, and return whether that is so."""
        try:
            obstore.put(self._store, name, b64decode(content), mode="create" if create else "overwrite")
        except AlreadyExistsError:
            return False
        return True

    def upload(self, name: str, path: str) -> None:
        """Write an object with the content of a file: a small one with a single request, in place of three."""
        parts = _parts(Path(path))
        if Path(path).stat().st_size > PART:
            obstore.put(self._store, name, parts, chunk_size=PART, max_concurrency=1)
        else:
            obstore.put(self._store, name, b"".join(parts), use_multipart=False)

    def download(self, name: str, path: str, size: int) -> str:
        """Read an object of this size into a file, and return its SHA-256."""
        with Path(path).open("wb") as file:
            return self._read(name, size, file.write)

    def digest(self, name: str, size: int) -> str:
        """Read an object of this size, and return its SHA-256."""
        return self._read(name, size, len)

    def delete(self, names: list[str]) -> None:
        """Remove objects; it is no error if another machine has removed one."""
        _for_each(names, lambda name: obstore.delete(self._store, name))

    def _read(self, name: str, size: int, write: Callable[[bytes], int]) -> str:
        digest, done = hashlib.sha256(), 0
        for chunk in self._chunks(name, size):
            done += len(chunk)
            digest.update(chunk)
            write(chunk)
            _answer(moved=done)
        if done < size:
            raise WrongObjectError(f"{name} has {done} bytes, not {size}")
        return digest.hexdigest()

    def _chunks(self, name: str, limit: int) -> Iterator[bytes]:
        """Read an object; stop where it has more bytes than ``limit``, whatever its server says of its size."""
        found, done = obstore.get(self._store, name), 0
        stream = found.stream(min_chunk_size=CHUNK) if found.meta["size"] <= limit else [bytes(limit + 1)]
        for chunk in stream:
            done += len(chunk)
            if done > limit:
                raise WrongObjectError(f"{name} has more than {limit} bytes")
            yield bytes(chunk)


def _for_each(names: list[str], function: Callable[[str], Value]) -> dict[str, Value]:
    """Call a function for each object, several at a time; leave out missing ones."""

    def result(name: str) -> list[Value]:
        try:
            return [function(name)]
        except FileNotFoundError as error:
            if NO_BUCKET.search(str(error)):
                raise
            return []
        finally:
            _answer(moved=1)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {name: found[0] for name, found in zip(names, pool.map(result, names), strict=True) if found}


def _about(entry: Any) -> tuple[int, float]:
    return entry["size"], entry["last_modified"].timestamp()


def _parts(path: Path) -> Iterator[bytes]:
    done = 0
    with path.open("rb") as file:
        while part := file.read(PART):
            yield part
            done += len(part)
            _answer(moved=done)


def _open(url: str, *, creates: bool) -> Any:
    """Open the store at a URL; with ``creates`` create a missing folder, but not the one above it.

    Raises
    ------
    UnusableError
        The folder is missing, or there are no credentials.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        needed = folder.parent if creates or not folder.parent.is_dir() else folder
        if not needed.is_dir():
            raise UnusableError(f"there is no folder {needed} (is its disk mounted?)")
        return LocalStore(folder, mkdir=True)
    options: dict[str, Any] = {"client_options": dict(CLIENT), "retry_config": RETRIES}
    if parts.scheme == "s3":
        options["config"] = settings = s3_settings(os.environ)
        if not has_credentials(os.environ, settings):
            raise UnusableError(
                "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        options["client_options"]["allow_http"] = settings.get("endpoint", "").startswith("http://")
    return from_url(url, **options)


_writing = threading.Lock()


def _answer(**answer: Any) -> None:
    with _writing:
        print(json.dumps(answer), file=ANSWERS, flush=True)


def _message(error: Exception) -> str:
    """Return the first line of an error, without its times and retries: obstore adds a whole tree of causes."""
    if NO_BUCKET.search(str(error)):
        return "there is no such bucket (is its name right?)"
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    line = re.sub(r"^Generic \w+ error: |Error performing |: <.*", "", line)  # <: the body of an answer
    return re.sub(r" in [\d.]+[a-zµ]+(, after \d+ retries, .*?)?\s+- (HTTP error: )?", ": ", line)


def _read_requests(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)  # the other side has ended, perhaps in the middle of a transfer


def serve(url: str, *, creates: bool) -> None:
    """Answer requests until stdin ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the other side, too, which ends this one
        signal.signal(number, signal.SIG_IGN)
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(waiting,), daemon=True).start()
    requests: Requests | None = None
    while True:
        request = waiting.get()
        try:
            requests = requests or Requests(url, creates=creates)
            answer = {"value": getattr(requests, request.pop("do"))(**request)}
        except FileNotFoundError as error:
            lacks_bucket = NO_BUCKET.search(str(error))
            answer = {"error": _message(error)} if lacks_bucket else {"wrong": f"{request['name']} is missing"}
        except WrongObjectError as error:
            answer = {"wrong": str(error)}
        except (PermissionDeniedError, UnauthenticatedError) as error:
            answer = {"refused": _message(error)}
        except OSError as error:  # of a file here: obstore has errors of its own
            answer = {"full": error.errno} if error.errno in NO_SPACE else {"error": _message(error)}
        except Exception as error:
            answer = {"error": _message(error)}
        _answer(**answer)


if __name__ == "__main__":
    ANSWERS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print to stdout
    serve(sys.argv[1], creates="creates" in sys.argv[2:])
