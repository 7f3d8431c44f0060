"""The errors that a user can meet. Each message ends with the next thing to do."""

from __future__ import annotations

import errno
from collections.abc import Iterable

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The error numbers of a full disk, an exceeded quota and a file over the size limit."""


class PipelineError(Exception):
    """Any error that the pipeline foresees; its message is printed without a traceback."""


class SettingError(PipelineError):
    """A setting has a value that is not allowed."""


class DownloadError(PipelineError):
    """The archive cannot be fetched."""


class ArchiveError(PipelineError):
    """The archive has unexpected content."""


class DatasetError(PipelineError):
    """An HDF5 file of images is missing, damaged or does not fit."""


class DeclarationError(PipelineError):
    """The declaration of a network is wrong."""


class WeightsError(PipelineError):
    """A weights file is missing, damaged or does not fit."""


class FilmError(PipelineError):
    """The film of a training is missing, damaged or of another layout."""


class EngineError(PipelineError):
    """An engine cannot train this network, or failed."""


class DivergedError(EngineError):
    """The loss of a training is not finite; the same training would fail again in the same way."""


class DeviceError(PipelineError):
    """The requested device is missing."""


class PictureError(PipelineError):
    """A file is not a picture that a network can classify."""


class ExportError(PipelineError):
    """A trained network cannot be written for other programs."""


class AccuracyError(PipelineError):
    """A network is less accurate than the settings require."""


class ScheduleError(PipelineError):
    """A timer cannot be installed or removed."""


class StoreError(PipelineError):
    """A result cannot be written, read or trusted."""


class RemoteError(PipelineError):
    """The remote, where several machines keep results, cannot be used."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'rectify'?"``, or an empty string where no known name is close to a misspelt one."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {str(close[0])!r}?" if close else ""
