"""The stages that the settings select, for commands that run none."""

from __future__ import annotations

from pathlib import Path

from pipeline.networks.declared import NETWORKS
from pipeline.store import results
from pipeline.store.stage import Stage
from tasks.configuration import config_files
from tasks.learning import NetworkTask
from tasks.settings import settings
from tasks.stages import check_all_settings, stage_classes
from tasks.this_run import check_forced
from tasks.whole import Pipeline


def check_settings() -> None:
    """Raise `SettingError` where a setting has an impossible value, used or not."""
    check_all_settings()
    stages()


def folders() -> list[Path]:
    """Return the folders that hold results: two, or one for both kinds."""
    return list(dict.fromkeys([settings.active().data_sets, settings.active().outputs]))


def stages() -> list[Stage]:
    """Return the stages of the whole pipeline, in the order in which data flows.

    Raise `SettingError` where there is no luigi.cfg, or ``force`` names no stage.
    """
    config_files.require_settings_file()
    found = Pipeline().stages
    check_forced(found, "Pipeline")
    return found


def all_reachable() -> list[Stage]:
    """Return the stages of the whole pipeline, and those of every other network that is declared."""
    kinds = [kind for kind in stage_classes() if issubclass(kind, NetworkTask) and "kind" in vars(kind)]
    return results.upstream(*stages(), *(kind.of(network).stage for network in NETWORKS for kind in kinds))
