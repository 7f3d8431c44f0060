"""Have the pipeline run by itself: a timer of the user's systemd or, without one, a line in the user's crontab.

`job` says what is to run and how it is checked, `expressions` puts a systemd calendar expression into crontab's
words, `systemd` and `crontab` install and remove, and `steps` does what they say, or only tells.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ScheduleError
from pipeline.operations.schedule import crontab, systemd
from pipeline.operations.schedule.job import Job, name_of
from pipeline.operations.schedule.steps import Steps


def install(job: Job, steps: Steps) -> None:
    """Have a job run from now on, in place of the one that its checkout had.

    Raises
    ------
    SettingError
        When it is to run cannot be said, or not with what this machine has.
    ScheduleError
        There is neither systemd nor cron, or it refuses.
    """
    job.check()
    if systemd.is_running():
        crontab.remove(job.name, steps)
        systemd.install(job, steps)
    elif crontab.is_there():
        line = crontab.line(job)
        systemd.remove(job.name, steps)
        crontab.install(job.name, line, steps)
    else:
        raise ScheduleError(
            "there is neither a systemd that runs for this user nor a crontab command. Install cron, or have "
            f"whatever starts programs here start this: {job.shell_command}"
        )


def remove(checkout: Path, steps: Steps) -> bool:
    """Have a checkout's job run no more, and tell whether there was one."""
    name = name_of(checkout)
    return systemd.remove(name, steps) | crontab.remove(name, steps)
