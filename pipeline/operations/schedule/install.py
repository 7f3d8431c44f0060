"""Install a job in systemd or cron, and remove it."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ScheduleError
from pipeline.operations.schedule import crontab, systemd
from pipeline.operations.schedule.job import Job, name_of
from pipeline.operations.schedule.steps import Steps


def install(job: Job, steps: Steps) -> None:
    """Install a job, in place of its checkout's earlier one.

    Raises
    ------
    SettingError
        The calendar expression is wrong, or a crontab cannot express it and there is no systemd.
    ScheduleError
        There is neither systemd nor cron, or it refuses.
    """
    job.check()
    if systemd.is_running():
        crontab.remove(job.name, steps)
        systemd.install(job, steps)
    elif crontab.is_there():
        crontab.install(job, steps)
        systemd.remove(job.name, steps)
    else:
        raise ScheduleError(
            "there is neither a systemd that runs for this user nor a crontab command. Install cron, or enter this "
            f"command where programs are scheduled here: {job.shell_command}"
        )


def remove(checkout: Path, steps: Steps) -> bool:
    """Remove a checkout's job, and return whether there was one."""
    name = name_of(checkout)
    return systemd.remove(name, steps) | crontab.remove(name, steps)
