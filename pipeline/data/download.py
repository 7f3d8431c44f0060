"""Fetch the archive from the first of several sources that delivers it, or copy it from disk.

`fetch` publishes a file only if it has the expected SHA-256. Since the digest pins every byte, one source may
finish a file that another source began.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.data.archive import ARCHIVE_NAME, PUBLISHED_BYTES, PUBLISHED_SHA256, SOURCES, Limits, forget, given_digest
from pipeline.data.partial_file import PartialFile
from pipeline.data.transfer import Server, SlowTransferError
from pipeline.errors import DownloadError, SettingError
from pipeline.files.paths import kind_unless_regular
from pipeline.files.whole_file import replacing
from pipeline.progress.monitor import Monitor
from pipeline.web.connection import BrokenTransferError, TransferError, retrying
from pipeline.web.urls import is_web_url, without_secrets

OTHER_WAYS = (
    "Name a mirror (sources in the section [DownloadCIFAR] of luigi.cfg), use an archive that you have "
    "(make pipeline ARCHIVE=path), or see the pipeline at work without it (make demo)."
)


def fetch(
    output: Path, *, partial: Path, sha256: str, sources: Sequence[str], limits: Limits, monitor: Monitor
) -> None:
    """Fetch the archive into a folder from the first source that delivers it.

    If a source is slow, the next source goes on. If all are slow, the fastest source delivers the rest. Bytes that have
    arrived are kept for the next attempt, the next source and, if this process is killed, the next run.

    Parameters
    ----------
    output : Path
        An existing folder; the archive is named `ARCHIVE_NAME` in it.
    partial : Path
        The file that keeps the bytes that have arrived; one process at a time may use it.
    sha256 : str
        SHA-256 of the archive, in hexadecimal.
    sources : sequence of str
        URLs, the preferred URL first; a URL that begins with ``file:`` is an archive on this machine.

    Raises
    ------
    SettingError
        The digest is no SHA-256, there is no source, or a source is no URL of an archive.
    DownloadError
        No source delivers the archive, or the disk is full.
    """
    sha256 = given_digest(sha256)
    if not sources:
        raise SettingError(f"there is no source to fetch the archive from; expected a URL such as {SOURCES[0]}.")
    for url in sources:
        check_source(url)
    waiting = [_Source(url, sha256, limits) for url in sources]
    failures: list[str] = []
    with PartialFile(partial) as file:
        while file.sha256 != sha256:
            if not waiting:
                kept = f"The {file.size:,} bytes that came are kept for the next run. " if file.size else ""
                raise DownloadError("\n".join(["The archive cannot be fetched.", *failures, kept + OTHER_WAYS]))
            source = max(waiting, key=lambda candidate: candidate.rate)
            waiting.remove(source)
            monitor.log(f"Fetching {source.shown}")
            try:
                source.fill(file, _least_rate(source, waiting, limits.minimum_rate), monitor)
            except SlowTransferError as error:
                monitor.log(f"{source.shown}: {error}")
                source.rate = error.rate
                waiting.append(source)
            except TransferError as error:
                monitor.log(f"{source.shown}: {error}")
                failures.append(f"  {source.shown}: {error}")
    publish(partial, output)


def take_local(output: Path, *, source: Path, sha256: str, memory: Path | None = None, monitor: Monitor) -> None:
    """Copy an archive from disk into a folder, where it is named `ARCHIVE_NAME`.

    Parameters
    ----------
    memory : Path, optional
        The file in which `pipeline.data.archive` keeps the digest of ``source``; a wrong digest is removed from it.

    Raises
    ------
    DownloadError
        The archive is missing, cannot be read or has another SHA-256; or the disk is full.
    """
    copy = output / f"{ARCHIVE_NAME}.part"
    try:
        with PartialFile(copy) as file:
            file.clear()
            _copy(source, file, monitor)
            if file.sha256 != sha256:
                if memory:
                    forget(source, memory)
                raise DownloadError(
                    f"{source} has {file.size:,} bytes with SHA-256 {file.sha256}; expected SHA-256 {sha256}. "
                    "If it is the archive that you mean and is complete, type the same command again."
                )
        copy.replace(output / ARCHIVE_NAME)
    finally:
        copy.unlink(missing_ok=True)


def publish(partial: Path, output: Path) -> None:
    """Move a complete file into a folder, perhaps on another disk, where it is named `ARCHIVE_NAME`."""
    try:
        with replacing(output / ARCHIVE_NAME) as whole:
            shutil.move(partial, whole, copy_function=shutil.copyfile)
    except OSError as error:
        raise DownloadError(
            f"{partial} cannot be moved to {output} ({error.strerror}). Make room there, or make both folders "
            "writable, and type the same command again: nothing is fetched twice."
        ) from None


def check_source(url: str) -> None:
    """Raise `SettingError` if no archive can come from a URL."""
    with contextlib.suppress(ValueError):  # `urlsplit` does not understand the URL
        parts = urlsplit(url)
        on_the_web = is_web_url(url) and "@" not in parts.netloc
        on_disk = parts.scheme == "file" and parts.netloc in ("", "localhost") and bool(parts.path)
        if (on_the_web or on_disk) and re.fullmatch("[!-~]+", url):
            return
    shown = without_secrets(re.sub(r"//.*@", "//", url))  # a password may contain /
    raise SettingError(
        f"{shown!r} is no source of the archive; expected https://HOST/PATH, http://HOST/PATH or file:///PATH, "
        "in ASCII and without a password."
    )


class _Source:
    """A source of the archive, on this machine or on the web.

    ``rate`` is infinite until the source is too slow, and then its rate in kilobytes per second.
    """

    def __init__(self, url: str, sha256: str, limits: Limits) -> None:
        self.shown = without_secrets(url)
        self.rate = math.inf
        self._url = url
        self._sha256 = sha256
        self._attempts = limits.attempts
        self._server = Server(url, limits)
        self._started_over = False

    def fill(self, file: PartialFile, minimum_rate: float, monitor: Monitor) -> None:
        """Complete a partial file to the archive, or raise `TransferError`."""
        parts = urlsplit(self._url)
        if parts.scheme == "file":
            self._copy(Path(url2pathname(parts.path)), file, monitor)
        else:
            retrying(self._url, self._attempts, monitor)(self._transfer, file, minimum_rate, monitor)

    def _copy(self, path: Path, file: PartialFile, monitor: Monitor) -> None:
        try:
            with _opened(path) as archive:
                found = hashlib.file_digest(archive, "sha256").hexdigest()
        except DownloadError as error:
            raise TransferError(str(error)) from None
        if found != self._sha256:
            raise TransferError(f"has SHA-256 {found}; expected {self._sha256}.")
        file.clear()
        _copy(path, file, monitor)

    def _transfer(self, file: PartialFile, minimum_rate: float, monitor: Monitor) -> None:
        full_size = PUBLISHED_BYTES if self._sha256 == PUBLISHED_SHA256 else None
        while file.sha256 != self._sha256:
            try:
                self._server.send_rest(file, full_size, minimum_rate, monitor)
            except BrokenTransferError:
                if file.sha256 != self._sha256:  # else the server announced more bytes than the archive has
                    raise
            if file.sha256 != self._sha256:
                self._start_over(file, monitor)

    def _start_over(self, file: PartialFile, monitor: Monitor) -> None:
        """Drop all bytes; give the source up if it sent all of them, or the second time."""
        wrong = f"{file.size:,} bytes have SHA-256 {file.sha256}; expected {self._sha256}."
        all_its_own = file.pieces == 1
        file.clear()
        if all_its_own or self._started_over:
            raise TransferError(f"all {wrong}")
        monitor.log(f"{self.shown}: {wrong} They came in several pieces; starting over from this source alone.")
        self._started_over = True


def _least_rate(source: _Source, others: Sequence[_Source], minimum_rate: float) -> float:
    """Return the rate below which to leave a source: 0 if it was left before, or if no other source may be faster."""
    if source.rate < math.inf:
        return 0.0
    return min(minimum_rate, max((other.rate for other in others), default=0.0))


def _copy(source: Path, file: PartialFile, monitor: Monitor) -> None:
    with _opened(source) as original:
        size = os.fstat(original.fileno()).st_size
        file.begin_piece(size)
        while chunk := original.read(1 << 20):
            file.append(chunk)
            monitor.progress(file.size, size, "B")
    if not file.size:
        raise DownloadError(f"{source} is empty; expected a gzipped tar such as {ARCHIVE_NAME}.")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        if kind := kind_unless_regular(path):  # opening a pipe would wait for ever
            raise OSError(errno.EINVAL, f"it is {kind}")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DownloadError(f"{path} cannot be read ({error.strerror}); expected the archive {ARCHIVE_NAME}.") from None
