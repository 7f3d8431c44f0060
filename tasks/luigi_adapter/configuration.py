"""Luigi's own settings: errors in its files, defaults that the pipeline needs, and local.cfg.

Written for Luigi 3.8.1. It fails with a traceback where a file cannot be parsed; by default a failed task ends with
exit status 0, and a run needs a luigid; it knows no file for a person's own settings. This module can go when Luigi
reports the error in a line, has these defaults, and reads a second file.
"""

from __future__ import annotations

import configparser
import contextlib
import os
from pathlib import Path

from pipeline.errors import SettingError
from tasks.luigi_adapter.interrupts import STATUS_OF_SETTINGS

FILES = ("client.cfg", "luigi.cfg")
"""Files that Luigi reads in the current folder. Those in /etc/luigi may be meant for other programs."""
LOCAL = "local.cfg"
"""A person's own settings, which git ignores; they override luigi.cfg."""
PATH_VARIABLE = "LUIGI_CONFIG_PATH"

DEFAULTS = {
    "core": {"local_scheduler": "true", "no_lock": "true", "log_level": "WARNING", "autoload_range": "false"},
    "worker": {
        "check_complete_on_run": "true",
        "check_unfulfilled_deps": "false",
        "task_process_context": "tasks.luigi_adapter.interrupts.WorkerProcess",
    },
    "retcode": {
        "already_running": "10",
        "missing_data": "20",
        "not_run": "25",
        "task_failed": "30",
        "scheduling_error": "35",
        "unhandled_exception": str(STATUS_OF_SETTINGS),
    },
}
"""Luigi's settings where no file sets them."""


def read_settings() -> None:
    """Import Luigi, which reads luigi.cfg; then read local.cfg, and set the defaults.

    Raise `SettingError` if a file cannot be parsed.
    """
    try:
        if "toml" in (os.environ.get("LUIGI_CONFIG_PARSER"), os.environ.get(PATH_VARIABLE, "").rpartition(".")[2]):
            raise configparser.Error(
                f"the environment asks for TOML. Type `unset LUIGI_CONFIG_PARSER {PATH_VARIABLE}`."
            )
        _read_local_file()
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingError(
            f"luigi.cfg, local.cfg or the file that {PATH_VARIABLE} names cannot be parsed: {error}"
        ) from None
    set_defaults()


def set_defaults() -> None:
    """Set each default, unless a file or the caller's own code has set it."""
    from luigi.configuration import get_config

    config = get_config()
    for section, values in DEFAULTS.items():
        for name, value in values.items():
            if not config.has_option(section, name):
                config.set(section, name, value)


def exit_status_of_settings() -> int:
    """Return the exit status of a run with wrong settings: Luigi's for an unhandled exception."""
    from luigi.configuration import get_config

    with contextlib.suppress(ValueError, configparser.Error):
        return int(get_config().getint("retcode", "unhandled_exception"))
    return STATUS_OF_SETTINGS


def is_ours(section: str) -> bool:
    """Return whether a section or task belongs to the pipeline, and not to Luigi."""
    from luigi.task_register import Register

    return not Register.get_task_cls(section).__module__.startswith("luigi.")


def is_base_class(section: str) -> bool:
    """Return whether a task cannot be run by name, only its subclasses or through other tasks: ``...Task``."""
    return section.endswith("Task")


def _read_local_file() -> None:
    """Have Luigi read local.cfg after luigi.cfg and before the file that the environment names."""
    from luigi.configuration import LuigiConfigParser

    paths = LuigiConfigParser._config_paths
    if LOCAL not in paths:
        paths.insert(paths.index(FILES[-1]) + 1, LOCAL)
        if Path(LOCAL).exists():
            LuigiConfigParser.reload()
