"""The stages as the settings have them now, for programs that look at results without running anything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luigi.cmdline_parser import CmdlineParser

from pipeline.networks.declared import NETWORKS
from pipeline.store import results
from pipeline.store.stage import Stage
from tasks import validation
from tasks.configuration import config_files, last_run
from tasks.configuration.changed import changed
from tasks.learning import Evaluate
from tasks.run import check_forced
from tasks.settings import engine_settings, settings
from tasks.whole import Pipeline


class Current:
    """What luigi.cfg and flags on the command line come to."""

    def __init__(self, flags: Sequence[str]) -> None:
        self.flags = tuple(flags)

    @classmethod
    @contextlib.contextmanager
    def read(cls, flags: Sequence[str]) -> Iterator[Current]:
        """Read the settings, with the same flags on top as ``luigi --module tasks Pipeline`` takes."""
        with CmdlineParser.global_instance(["Pipeline", *flags], allow_override=True):
            yield cls(flags)

    def check(self) -> None:
        """Raise an error that tells which setting has a value that nothing can take, whether it is used or not."""
        validation.check()
        self.stages()

    @property
    def outputs(self) -> Path:
        """Folder of networks, results and the report."""
        return settings.active().outputs

    def tell_of_last_run(self) -> None:
        """Say on standard error which settings the last run had that are not these."""
        last_run.tell(self.outputs, changed())

    def computing(self) -> dict[str, Any]:
        """Return what computes, and where, as `pipeline.inference.prediction.Classifier` takes it."""
        choice = settings.active().choice()
        return {
            "engine": choice.engine,
            "device": choice.device,
            "engine_settings": engine_settings(choice.engine),
            "threads": settings.active().thread_count(),
        }

    def folders(self) -> list[Path]:
        """Both folders that hold results."""
        return list(dict.fromkeys([settings.active().data_sets, self.outputs]))

    def stages(self) -> list[Stage]:
        """Return the stages of the whole pipeline, in the order in which data flows.

        Raises
        ------
        SettingError
            There is no luigi.cfg, so that these would be none that anybody has set; or ``force`` names no stage.
        """
        config_files.require()
        stages = Pipeline().stages
        check_forced(stages, "Pipeline")
        return stages

    def all_reachable(self) -> list[Stage]:
        """Return the stages of the whole pipeline and of every other network that is declared."""
        return results.upstream(*self.stages(), *(Evaluate.of(network).stage for network in NETWORKS))
