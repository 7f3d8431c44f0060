"""Settings of Luigi's own that the pipeline's promises rest on, in force wherever luigi.cfg does not set them.

By Luigi's defaults a failed task ends with exit status 0, and a run looks for a luigid.
"""

from __future__ import annotations

import configparser
import contextlib

from luigi.configuration import get_config

DEFAULTS = {
    "core": {"local_scheduler": "true", "no_lock": "true", "log_level": "WARNING", "autoload_range": "false"},
    "worker": {"check_complete_on_run": "true", "task_process_context": "tasks.signals.WorkerProcess"},
    "retcode": {
        "already_running": "10",
        "missing_data": "20",
        "not_run": "25",
        "task_failed": "30",
        "scheduling_error": "35",
        "unhandled_exception": "40",
    },
}


def status_of_wrong_settings() -> int:
    """Return the exit status of a run whose settings are wrong: Luigi's for whatever is not a task's failure."""
    with contextlib.suppress(ValueError, configparser.Error):
        return int(get_config().getint("retcode", "unhandled_exception"))
    return int(DEFAULTS["retcode"]["unhandled_exception"])


def install() -> None:
    """Put each of them where Luigi looks settings up, unless a file or the user's own code has done so."""
    config = get_config()
    for section, values in DEFAULTS.items():
        for name, value in values.items():
            if not config.has_option(section, name):
                config.set(section, name, value)


install()
