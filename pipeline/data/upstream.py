"""Follow a source: fetch the archive whenever its server has a new version, for data that no digest pins.

A server identifies a version of a file by its ``ETag`` and ``Last-Modified`` (RFC 9110, section 8.8). A request for
these headers transfers no file; they are a part of the stage's key, so that a new version is a new result.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.data.archive import Limits
from pipeline.data.download import check_source, publish
from pipeline.data.partial_file import PartialFile
from pipeline.data.transfer import Server, Version
from pipeline.errors import DownloadError, SettingError
from pipeline.progress.monitor import SILENT, Monitor
from pipeline.web.connection import TransferError, retrying
from pipeline.web.urls import is_web_url, without_secrets


@functools.cache
def ask(source: str, limits: Limits) -> Version:
    """Return a server's version of the archive, asked for once in a process, so that all stages of a run agree.

    Raises
    ------
    SettingError
        The source is no web server, or its URL has a password.
    DownloadError
        The server does not answer, or does not identify versions.
    """
    check_source(source)
    if not is_web_url(source):
        raise SettingError(
            f"{without_secrets(source)!r} cannot be followed; expected an http or https URL. A file is followed "
            "without asking if it is given as ARCHIVE=path."
        )
    with _explained(source):
        version = retrying(source, limits.attempts, SILENT)(Server(source, limits).version)
    if not version.etag and not version.last_modified:
        raise DownloadError(
            f"{without_secrets(source)} sends neither ETag nor Last-Modified, so that no change can be seen. "
            "Set follow_source = false in the section [DownloadCIFAR] of luigi.cfg, and its sha256."
        )
    return version


def fetch(
    output: Path,
    *,
    partial: Path,
    source: str,
    etag: str,
    last_modified: str,
    length: int | None,
    limits: Limits,
    monitor: Monitor,
) -> None:
    """Fetch one version of the archive into a folder, as `download.fetch` does.

    Parameters
    ----------
    etag, last_modified, length
        The fields of the version that `ask` returned.

    Raises
    ------
    DownloadError
        It cannot be fetched, or the server has another version by now; or the disk is full.
    """
    server = Server(source, limits, Version(etag, last_modified, length))
    monitor.log(f"Fetching {without_secrets(source)}")
    with PartialFile(partial) as file, _explained(source):
        retrying(source, limits.attempts, monitor)(server.send_rest, file, length, limits.minimum_rate, monitor)
    publish(partial, output)


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Raise a `TransferError` as a `DownloadError` that names the source and the remedy."""
    try:
        yield
    except TransferError as error:
        raise DownloadError(
            f"The archive cannot be followed.\n  {without_secrets(source)}: {error}\n"
            "Try later, or use an archive that you have: ARCHIVE=path."
        ) from None
