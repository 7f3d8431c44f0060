"""The stages that the settings select, for commands that run none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luigi.cmdline_parser import CmdlineParser

from pipeline.networks.declared import NETWORKS
from pipeline.operations.run import check_forced
from pipeline.store import results
from pipeline.store.stage import Stage
from tasks import validation
from tasks.configuration import config_files, last_run
from tasks.configuration.changed import changed
from tasks.learning import NetworkTask
from tasks.settings import engine_settings, settings
from tasks.stages import stage_classes
from tasks.whole import Pipeline


@dataclass(frozen=True)
class Current:
    """The settings of a command line, and their stages."""

    flags: tuple[str, ...]

    @classmethod
    @contextlib.contextmanager
    def with_flags(cls, flags: Sequence[str]) -> Iterator[Current]:
        """Read the settings, with the flags of ``luigi --module tasks Pipeline``."""
        with CmdlineParser.global_instance(["Pipeline", *flags], allow_override=True):
            yield cls(tuple(flags))

    def check_settings(self) -> None:
        """Raise `SettingError` where a setting has an impossible value, used or not."""
        validation.check_all_settings()
        self.stages()

    @property
    def outputs(self) -> Path:
        """Folder of networks, results and the report."""
        return settings.active().outputs

    def report_missing_settings(self) -> None:
        """Print on standard error the settings of the last run that are missing here."""
        last_run.report_missing(self.outputs, changed())

    def computing(self) -> dict[str, Any]:
        """Return the engine, the device and the threads, as arguments of `pipeline.inference.prediction.Classifier`."""
        choice = settings.active().choice()
        return {
            "engine": choice.engine,
            "device": choice.device,
            "engine_settings": engine_settings(choice.engine),
            "threads": settings.active().thread_count(),
        }

    def folders(self) -> list[Path]:
        """Return the folders that hold results: two, or one for both kinds."""
        return list(dict.fromkeys([settings.active().data_sets, self.outputs]))

    def stages(self) -> list[Stage]:
        """Return the stages of the whole pipeline, in the order in which data flows.

        Raises
        ------
        SettingError
            There is no luigi.cfg, or ``force`` names no stage.
        """
        config_files.require_settings_file()
        stages = Pipeline().stages
        check_forced(settings.active().forced(), stages, "Pipeline")
        return stages

    def all_reachable(self) -> list[Stage]:
        """Return the stages of the whole pipeline, and those of every other network that is declared."""
        kinds = [kind for kind in stage_classes() if issubclass(kind, NetworkTask) and "kind" in vars(kind)]
        return results.upstream(*self.stages(), *(kind.of(network).stage for network in NETWORKS for kind in kinds))
