"""The stages from the archive to the two grayscale data sets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility

from pipeline.data.archive import PUBLISHED_SHA256, SOURCES, digest_on_disk, given_digest
from pipeline.errors import SettingError
from pipeline.files.digests import json_digest
from tasks.settings import settings
from tasks.stages import StageTask


class DataTask(StageTask):
    """A stage whose result is in the data folder."""

    @property
    def folder(self) -> Path:
        return settings.active().data_sets


LEAST_VALUES = {"connect_timeout": 0.1, "stall_timeout": 0.1, "time_limit": 1, "minimum_rate": 0, "attempts": 1}
"""Least value of each setting of `DownloadCIFAR`."""


class DownloadCIFAR(DataTask):
    """Fetch the archive, or take one from disk."""

    without_effect = ("minimum_rate", "connect_timeout", "stall_timeout", "time_limit", "attempts")
    code_matters = False  # the digest, or the version that the source reports, decides the result

    archive = luigi.OptionalParameter(
        default=None,
        always_in_help=True,
        description="Path of an archive on disk, taken instead of downloading. Empty: download.",
    )
    sources = luigi.Parameter(
        default=" ".join(SOURCES),
        always_in_help=True,
        significant=False,
        visibility=ParameterVisibility.PRIVATE,  # Luigi would log and send the signatures in URLs
        description="URLs to download from (http, https or file), with blanks between them, the best first.",
    )
    sha256 = luigi.Parameter(
        default=PUBLISHED_SHA256,
        always_in_help=True,
        description="SHA-256 of the archive to download: 64 hexadecimal digits.",
    )
    follow_source = luigi.BoolParameter(
        default=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        always_in_help=True,
        description="Whether each run asks the one source whether its archive has changed: true or false.",
    )
    minimum_rate = luigi.FloatParameter(
        default=200.0,
        always_in_help=True,
        description="Kilobytes a second below which a source is given up for the next one.",
    )
    connect_timeout = luigi.FloatParameter(
        default=15.0, always_in_help=True, description="Seconds to wait for a source to answer."
    )
    stall_timeout = luigi.FloatParameter(
        default=30.0,
        always_in_help=True,
        description="Seconds without a byte after which a transfer is resumed.",
    )
    time_limit = luigi.FloatParameter(
        default=21600.0,
        always_in_help=True,
        description="Seconds that an attempt to download may take in all.",
    )
    attempts = luigi.IntParameter(
        default=5, always_in_help=True, description="Number of attempts to download from a source."
    )

    @classmethod
    def check(cls, given: Any) -> None:
        for name, least in LEAST_VALUES.items():
            value = getattr(given, name)
            if not least <= value < math.inf:
                raise SettingError(f"DownloadCIFAR.{name} is {value}; expected a number from {least}.")
        if given.sha256:
            given_digest(given.sha256)
        if given.sources.split() != list(SOURCES):
            from pipeline.data.download import check_source

            for url in given.sources.split():
                check_source(url)

    def stage_function(self) -> str:
        if self.archive:
            return "pipeline.data.download:take_local"
        return "pipeline.data.upstream:fetch" if self.follow_source else "pipeline.data.download:fetch"

    def decides(self) -> dict[str, Any]:
        return self._version() if self.follow_source and not self.archive else {"sha256": self._digest()}

    def options(self) -> dict[str, Any]:
        if self.archive:
            return {"source": Path(self.archive), "memory": self._memory}
        which = {"source": self.sources.strip()} if self.follow_source else {"sources": self.sources.split()}
        name = json_digest(self.decides()) if self.follow_source else self.sha256.lower()
        return {
            **which,
            "connect_timeout": self.connect_timeout,
            "stall_timeout": self.stall_timeout,
            "minimum_rate": self.minimum_rate * 1000,
            "attempts": self.attempts,
            "time_limit": self.time_limit,
            "partial": self.folder / self.task_family / f"{name[:16]}.part",
        }

    @property
    def _memory(self) -> Path:
        """The file of the digests of archives on disk."""
        return settings.active().cache("digests.json")

    def _version(self) -> dict[str, Any]:
        """Ask the source for the version of its archive."""
        from pipeline.data import upstream

        if self.sha256:
            raise SettingError(
                "DownloadCIFAR.follow_source is true, but sha256 pins the archive; expected one of the two. "
                "Leave sha256 empty to take whatever the source has."
            )
        if len(self.sources.split()) != 1:
            raise SettingError(
                f"DownloadCIFAR.follow_source is true with {len(self.sources.split())} sources; expected one URL in "
                "sources, since another server's versions have other names."
            )
        version = upstream.ask(
            self.sources.strip(),
            connect_timeout=self.connect_timeout,
            stall_timeout=self.stall_timeout,
            time_limit=self.time_limit,
            attempts=self.attempts,
        )
        return version._asdict()

    def _digest(self) -> str:
        """Return the digest that decides the result, for any path or URL of the archive."""
        return digest_on_disk(Path(self.archive), self._memory) if self.archive else given_digest(self.sha256)


class ConvertToHDF5(DataTask):
    """Read the archive into an HDF5 file of colour images."""

    function = "pipeline.data.cifar:convert"
    libraries = ("numpy", "h5py")

    title = luigi.Parameter(
        default="",
        always_in_help=True,
        description="Title of the data wherever results are shown. Empty: its class names.",
    )

    def requires(self) -> dict[str, StageTask]:
        return {"archive": DownloadCIFAR()}

    @classmethod
    def check(cls, given: Any) -> None:
        if not given.title.isprintable():
            raise SettingError(f"ConvertToHDF5.title is {given.title!r}; expected a line of printable UTF-8.")

    def decides(self) -> dict[str, Any]:
        return {"title": self.title}

    def options(self) -> dict[str, Any]:
        given = DownloadCIFAR().archive
        return {"given": Path(given) if given else None}


class GrayscaleFlat(DataTask):
    """Make the grayscale data set whose images are vectors."""

    function = "pipeline.data.grayscale:make_flat"
    libraries = ("numpy", "h5py")

    def requires(self) -> dict[str, StageTask]:
        return {"images": ConvertToHDF5()}


class Grayscale2D(DataTask):
    """Make the grayscale data set whose images have rows and columns."""

    function = "pipeline.data.grayscale:make_2d"
    libraries = ("numpy", "h5py")

    def requires(self) -> dict[str, StageTask]:
        return {"images": ConvertToHDF5()}
