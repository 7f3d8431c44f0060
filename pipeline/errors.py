"""The errors that a user can meet. Each message ends with the next thing to do.

::

    PipelineError
    ├── SettingError      a setting has a value that is not allowed
    ├── DownloadError     the archive cannot be fetched
    ├── ArchiveError      the archive has unexpected content
    ├── DatasetError      an HDF5 file of images is missing, damaged or does not fit
    ├── DeclarationError  the declaration of a network is wrong
    ├── WeightsError      a weights file is missing, damaged or does not fit
    ├── EngineError       an engine cannot train this network, or failed
    ├── DeviceError       the requested device is missing
    ├── PictureError      a file is not a picture that a network can classify
    ├── ExportError       a trained network cannot be written for other programs
    ├── AccuracyError     a network is less accurate than the settings require
    ├── ScheduleError     a timer cannot be installed or removed
    └── StoreError        a result cannot be written, read or trusted
"""

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


class EngineError(PipelineError):
    """An engine cannot train this network, or failed."""


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion of the known name closest to a misspelt one.

    Returns
    -------
    str
        ``" Did you mean 'rectify'?"``, or an empty string where nothing is close.
    """
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {str(close[0])!r}?" if close else ""
