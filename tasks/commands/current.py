"""The stages that the settings select, for commands that run none."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.errors import StoreError, did_you_mean
from pipeline.networks.declared import NETWORKS
from pipeline.store import lookup, results
from pipeline.store.record import record_name
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


def find_result(text: str) -> Path:
    """Return the folder of the result that a key, ``STAGE/KEY`` or the name of a stage means.

    The name of a stage means the result that the settings select or, where that is not there, the one of ``latest``;
    a line on stderr says so. Raise `StoreError` where there is no such result, or more than one.
    """
    if lookup.is_key(text):
        return lookup.find_result(text, folders())
    keys = {stage.name: stage.path for stage in reversed(all_reachable())}
    selected, latest = keys.get(text), settings.active().latest / text
    if selected and record_name(selected):
        return selected
    is_stage = selected or latest.is_symlink()
    if not is_stage:
        raise StoreError(
            f"{text!r} is neither the beginning of a key, such as 1a2b or TrainCNN/1a2b, nor a stage; expected one of "
            f"{', '.join(keys)}.{did_you_mean(text, keys)}"
        )
    if not latest.is_dir():
        raise StoreError(f"{text} has no result with these settings, nor an earlier one. Type `make pipeline`.")
    if selected:
        sys.stderr.write(
            f"{text}: the settings select {selected.name[:8]}, which is not there; this is its latest result.\n"
        )
    return latest.resolve()
