"""The stages from the archive to the two grayscale data sets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from luigi.parameter import ParameterVisibility

from pipeline.data.archive import PUBLISHED_SHA256, SOURCES, Limits, digest_on_disk, given_digest
from pipeline.errors import SettingError
from pipeline.files.digests import json_digest
from tasks.luigi_adapter.parameters import boolean, number, optional_text, text, whole_number
from tasks.settings import settings
from tasks.stages import StageTask


class DataTask(StageTask):
    """A stage whose result is in the data folder."""

    @property
    def folder(self) -> Path:
        return settings.active().data_sets


class DownloadCIFAR(DataTask):
    """Fetch the archive, or take one from disk."""

    without_effect = tuple(limit.name for limit in dataclasses.fields(Limits))
    code_matters = False  # the digest, or the version that the source reports, decides the result

    archive = optional_text("Path of an archive on disk, taken instead of downloading. Empty: download.")
    sources = text(
        " ".join(SOURCES),
        "URLs to download from (http, https or file), with blanks between them, the best first.",
        significant=False,
        visibility=ParameterVisibility.PRIVATE,  # Luigi would log and send the signatures in URLs
    )
    sha256 = text(PUBLISHED_SHA256, "SHA-256 of the archive to download: 64 hexadecimal digits.")
    follow_source = boolean(False, "Whether each run asks the one source whether its archive has changed.")
    minimum_rate = number(200.0, "Kilobytes a second below which a source is given up for the next one.")
    connect_timeout = number(15.0, "Seconds to wait for a source to answer.")
    stall_timeout = number(30.0, "Seconds without a byte after which a transfer is resumed.")
    time_limit = number(21600.0, "Seconds that an attempt to download may take in all.")
    attempts = whole_number(5, "Number of attempts to download from a source.")

    @classmethod
    def check_settings(cls, given: Any) -> None:
        cls._limits(given)
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
        if self.archive:
            return {"sha256": digest_on_disk(Path(self.archive), self._memory)}
        return self._version() if self.follow_source else {"sha256": given_digest(self.sha256)}

    def options(self) -> dict[str, Any]:
        if self.archive:
            return {"source": Path(self.archive), "memory": self._memory}
        which = {"source": self.sources.strip()} if self.follow_source else {"sources": self.sources.split()}
        name = json_digest(self.decides()) if self.follow_source else self.sha256.lower()
        return {
            **which,
            "limits": self._limits(self),
            "partial": self.folder / self.task_family / f"{name[:16]}.part",
        }

    @property
    def _memory(self) -> Path:
        """The file of the digests of archives on disk."""
        return settings.active().cache("digests.json")

    @staticmethod
    def _limits(given: Any) -> Limits:
        """Return the limits that the settings give, or raise `SettingError` for one that is too low."""
        return Limits(**{limit.name: getattr(given, limit.name) for limit in dataclasses.fields(Limits)})

    def _version(self) -> dict[str, Any]:
        """Ask the source for the version of its archive."""
        from pipeline.data import upstream

        if self.sha256:
            raise SettingError(
                "DownloadCIFAR.follow_source is true, but sha256 pins the archive; expected one of the two. "
                "Leave sha256 empty to accept any archive of the source."
            )
        if len(self.sources.split()) != 1:
            raise SettingError(
                f"DownloadCIFAR.follow_source is true with {len(self.sources.split())} sources; expected one URL in "
                "sources, since another server's versions have other names."
            )
        return upstream.ask(self.sources.strip(), self._limits(self))._asdict()


class ConvertToHDF5(DataTask):
    """Read the archive into an HDF5 file of colour images."""

    function = "pipeline.data.cifar:convert"
    libraries = ("numpy", "h5py")

    title = text("", "Title of the data in reports and results. Empty: its class names.")

    def requires(self) -> dict[str, StageTask]:
        return {"archive": DownloadCIFAR()}

    @classmethod
    def check_settings(cls, given: Any) -> None:
        if not given.title.isprintable():
            raise SettingError(f"ConvertToHDF5.title is {given.title!r}; expected a line of printable UTF-8.")

    def decides(self) -> dict[str, Any]:
        return {"title": self.title}

    def options(self) -> dict[str, Any]:
        given = DownloadCIFAR().archive
        return {"given": Path(given) if given else None}


class GrayscaleTask(DataTask):
    """A stage that converts colour images to grayscale."""

    libraries = ("numpy", "h5py")

    def requires(self) -> dict[str, StageTask]:
        return {"images": ConvertToHDF5()}


class GrayscaleFlat(GrayscaleTask):
    """Make the grayscale data set whose images are vectors."""

    function = "pipeline.data.grayscale:make_flat"


class Grayscale2D(GrayscaleTask):
    """Make the grayscale data set whose images have rows and columns."""

    function = "pipeline.data.grayscale:make_2d"
