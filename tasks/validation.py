"""Check all settings before a run begins, even settings that it does not use."""

from __future__ import annotations

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration.cfg_parser import InterpolationMissingEnvvarError

from pipeline.errors import SettingError
from tasks import stages
from tasks.settings import check_engine_settings, gate, schedule, settings


def check_all_settings() -> None:
    """Check every setting, without opening a data file or asking a server.

    Raises
    ------
    SettingError
        A setting has an impossible value.
    ValueError
        A value has the wrong type; `tasks.luigi_adapter.errors.message_of` explains it.
    """
    _check_flags_of_luigid()
    settings.active().check_values()
    check_engine_settings()
    _check_schedule()
    gate()  # its constructor checks the limits
    for task in stages.stage_classes():
        task.check_settings(task.configured())


def _check_flags_of_luigid() -> None:
    parser = CmdlineParser.get_instance()
    given = vars(parser.known_args) if parser else {}
    for name in ("scheduler_host", "scheduler_port", "scheduler_url"):
        if given.get(f"core_{name}") and luigi.interface.core().local_scheduler:
            raise SettingError(
                f"--{name.replace('_', '-')} does not count while local_scheduler is true; set that to false in the "
                "section [core] of luigi.cfg, or lay luigid.cfg over it: LUIGI_CONFIG_PATH=luigid.cfg."
            )


def _check_schedule() -> None:
    try:
        schedule()
    except ValueError as error:
        # The timer may set environment variables that this shell lacks.
        if not isinstance(error.__cause__, InterpolationMissingEnvvarError):
            raise
