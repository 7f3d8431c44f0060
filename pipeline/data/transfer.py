"""Transfer the rest of a gzip file from one URL to the end of a partial file.

`Server` checks the ranges and lengths that a web server announces. Its caller compares the digest.
"""

from __future__ import annotations

import html
import itertools
import math
import re
import time
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from pipeline.data.archive import MAXIMUM_BYTES, Limits
from pipeline.data.partial_file import PartialFile
from pipeline.progress.monitor import Monitor
from pipeline.web.connection import BrokenTransferError, Client, TransferError
from pipeline.web.urls import without_secrets

CHUNK_BYTES = 1 << 16
"""Maximum bytes of one read, which returns as soon as some have arrived."""
PAGE_BYTES = 1 << 16
"""Bytes of an HTML page in which `_title` looks for its title."""
RATE_WINDOW = 10.0
"""Seconds over which a rate is averaged."""

GZIP_MAGIC = b"\x1f\x8b"
WITHOUT_HEAD = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class SlowTransferError(TransferError):
    """A server sends at ``rate`` kilobytes per second, which is less than the minimum."""

    def __init__(self, rate: float, minimum_rate: float) -> None:
        super().__init__(f"sends {rate:,.1f} kB/s; expected at least {minimum_rate:,.1f} kB/s.")
        self.rate = rate


class Version(NamedTuple):
    """The headers by which a server identifies a version of a file; empty or None for a missing header."""

    etag: str = ""
    last_modified: str = ""
    length: int | None = None

    @property
    def condition(self) -> str:
        """The value of ``If-Range``, empty without a validator: a weak tag allows other bytes (RFC 9110, 13.1.5)."""
        return self.last_modified if self.etag.startswith("W/") else self.etag or self.last_modified


class Server:
    """The file at a URL.

    Parameters
    ----------
    version : Version, optional
        The version to transfer (default: any).
    """

    def __init__(self, url: str, limits: Limits, version: Version | None = None) -> None:
        self._url = url
        self._limits = limits
        self._version = version
        self._condition = version.condition if version else ""

    def send_rest(self, partial: PartialFile, full_size: int | None, minimum_rate: float, monitor: Monitor) -> None:
        """Append the rest of a file to its beginning, or fetch all of it if the server cannot resume.

        The beginning is dropped only after the server has begun to send a gzip file from its first byte.

        Parameters
        ----------
        full_size : int or None
            Bytes of the whole file, if known.
        minimum_rate : float
            Kilobytes per second, averaged over `RATE_WINDOW` seconds.

        Raises
        ------
        BrokenTransferError
            The connection failed, stalled or ended early.
        TransferError
            The server is too slow (`SlowTransferError`), sends something else, or takes longer than the time limit.
        DownloadError
            The disk is full.
        """
        # Without a validator nothing proves that the rest is of the same version as the beginning.
        can_resume = self._version is None or self._condition
        with self._client() as client:
            try:
                answer = self._ask(client, partial.size if can_resume else 0)
            except _RangeError as error:
                monitor.log(f"{without_secrets(self._url)}: {error}; asking for the whole file.")
                answer = self._ask(client, 0)
            _receive(answer, partial, full_size, minimum_rate, monitor)

    def version(self) -> Version:
        """Ask for the file's version without transferring the file; raise the errors of a request."""
        with self._client() as client:
            response = client.send("HEAD", self._url, {})
            if response.status in WITHOUT_HEAD:
                response = client.send("GET", self._url, {})
            return _version_of(response)

    def _client(self) -> Client:
        limits = self._limits
        return Client(
            connect_timeout=limits.connect_timeout, stall_timeout=limits.stall_timeout, time_limit=limits.time_limit
        )

    def _ask(self, client: Client, start: int) -> _Answer:
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self._condition:
                headers["If-Range"] = self._condition
        response = client.send("GET", self._url, headers)
        if start and response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _RangeError(f"has no bytes from {start:,} on")
        found = _version_of(response)
        if self._version is None:
            self._condition = Version(etag=found.etag).condition
        is_rest = response.status == HTTPStatus.PARTIAL_CONTENT
        # A response in chunks may lack the length, and the rest of a file may lack Last-Modified (RFC 9110, 15.3.7).
        pairs = zip(found[:2], self._version[:2], strict=True) if self._version else ()
        if any(sent != expected and (sent or not is_rest) for sent, expected in pairs):
            raise TransferError("has another version than it had a moment ago. Run the same command again.")
        if not is_rest:
            return _Answer(response, 0, found.length)
        content_range = response.headers.get("Content-Range", "")
        stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
        if stated is None or int(stated[1]) != start:
            raise _RangeError(f"sends the range {content_range!r} when asked for bytes from {start:,} on")
        return _Answer(response, start, None if stated[2] == "*" else int(stated[2]))


def _version_of(response: BaseHTTPResponse) -> Version:
    if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        raise _refusal(response)
    length = response.headers.get("Content-Length", "")
    return Version(
        response.headers.get("ETag", ""),
        response.headers.get("Last-Modified", ""),
        int(length) if length.isdecimal() and "Transfer-Encoding" not in response.headers else None,
    )


class _Answer(NamedTuple):
    """A response, the offset of its first byte in the file, and the size of the file that it announces."""

    response: BaseHTTPResponse
    start: int
    size: int | None


class _RangeError(TransferError):
    """A server does not send the rest of a file, but may send all of it."""


def _receive(
    answer: _Answer, partial: PartialFile, full_size: int | None, minimum_rate: float, monitor: Monitor
) -> None:
    limit = full_size or MAXIMUM_BYTES
    if answer.size and answer.size > limit:
        raise TransferError(f"announces {answer.size:,} bytes; expected {limit:,}{'' if full_size else ' at most'}.")
    size = full_size or answer.size
    beginning = b""
    if answer.start:
        monitor.log(f"Resuming at byte {answer.start:,}.")
    else:
        beginning = _beginning_of_gzip(answer.response)
        if partial.size:
            monitor.log(f"The server begins at the first byte; the {partial.size:,} bytes that were there are dropped.")
        partial.clear()
    partial.begin_piece(size)
    window_began, received = time.monotonic(), 0
    for chunk in itertools.chain([beginning], iter(lambda: answer.response.read1(CHUNK_BYTES), b"")):
        if partial.size + len(chunk) > limit:
            raise TransferError(f"sends more than {limit:,} bytes, which the file cannot have.")
        partial.append(chunk)
        monitor.progress(partial.size, size or math.inf, "B")
        received += len(chunk)
        if (seconds := time.monotonic() - window_began) >= RATE_WINDOW:
            if (rate := received / 1000 / seconds) < minimum_rate:
                raise SlowTransferError(rate, minimum_rate)
            window_began, received = time.monotonic(), 0
    if size and partial.size < size:
        raise BrokenTransferError(f"ended after {partial.size:,} of {size:,} bytes.")


def _beginning_of_gzip(response: BaseHTTPResponse) -> bytes:
    beginning = response.read(len(GZIP_MAGIC))
    if beginning == GZIP_MAGIC:
        return beginning
    if not beginning:
        raise BrokenTransferError("sent no bytes.")
    title = _title(beginning, response)
    if title is None:
        raise TransferError(f"sent a file that begins with {beginning!r}; expected {GZIP_MAGIC!r}, as gzip files do.")
    titled = f" titled {title!r}" if title else ""
    raise TransferError(
        f"sent an HTML page{titled} in place of the archive: does this network want you to log in first?"
    )


def _title(beginning: bytes, response: BaseHTTPResponse) -> str | None:
    """Return the title of an HTML page, empty if it has none; None if the response is no HTML page."""
    page = beginning
    with suppress(HTTPError):
        while len(page) < PAGE_BYTES and b"</title" not in page.lower() and (chunk := response.read1(PAGE_BYTES)):
            page += chunk
    text = page.decode(errors="replace")
    if not re.match(r"\s*(<!--|<!doctype html|<html|<head)", text.removeprefix("\ufeff"), re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
    return " ".join(html.unescape(title[1]).split()) if title else ""


def _refusal(response: BaseHTTPResponse) -> TransferError:
    status = response.status
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return TransferError(
            "the proxy asks for a name and a password (407): set HTTP_PROXY and HTTPS_PROXY to "
            "http://NAME:PASSWORD@HOST:PORT."
        )
    reason = without_secrets(" ".join((response.reason or "").split()))
    is_transient = status in TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return (BrokenTransferError if is_transient else TransferError)(
        f"answered {status} {reason}; expected 200 and the archive."
    )
