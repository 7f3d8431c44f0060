"""The errors that a user can meet, each with a message that says what to do next.

::

    PipelineError
    ├── SettingError      a setting has a value that is not allowed
    ├── DownloadError     the archive cannot be fetched
    ├── ArchiveError      the archive is not what it should be
    ├── DatasetError      an HDF5 file of images is missing, damaged or does not fit
    ├── DeclarationError  a network is declared wrongly
    ├── WeightsError      a weights file is missing, damaged or does not fit
    ├── EngineError       an engine cannot train this network, or failed
    ├── DeviceError       a device was asked for that is not there
    ├── PictureError      a file is no picture that can be shown to a network
    ├── ExportError       a trained network cannot be written for other programs
    ├── AccuracyError     a network is not as accurate as the settings ask
    ├── ScheduleError     a timer cannot be installed or removed
    └── StoreError        a result cannot be written, read or trusted
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system calls a disk, a quota or a file that is full."""


class PipelineError(Exception):
    """Any error that the pipeline foresees: its message is enough, no traceback needed."""


class SettingError(PipelineError):
    """A setting has a value that is not allowed."""


class DownloadError(PipelineError):
    """The archive cannot be fetched."""


class ArchiveError(PipelineError):
    """The archive is not what it should be."""


class DatasetError(PipelineError):
    """An HDF5 file of images is missing, damaged or does not fit."""


class DeclarationError(PipelineError):
    """A network is declared wrongly."""


class WeightsError(PipelineError):
    """A weights file is missing, damaged or does not fit."""


class EngineError(PipelineError):
    """An engine cannot train this network, or failed."""


class DeviceError(PipelineError):
    """A device was asked for that is not there."""


class PictureError(PipelineError):
    """A file is no picture that can be shown to a network."""


class ExportError(PipelineError):
    """A trained network cannot be written for other programs."""


class AccuracyError(PipelineError):
    """A network is not as accurate as the settings ask."""


class ScheduleError(PipelineError):
    """A timer cannot be installed or removed."""


class StoreError(PipelineError):
    """A result cannot be written, read or trusted."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known name closest to a misspelt one.

    Returns
    -------
    str
        ``" Did you mean 'rectify'?"``, or an empty string where nothing is close.
    """
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {str(close[0])!r}?" if close else ""
