"""Install and remove a line of the user's crontab, marked by a comment at its end. All other lines stay."""

from __future__ import annotations

import shutil

from pipeline.errors import ScheduleError
from pipeline.operations.schedule.expressions import in_crontab
from pipeline.operations.schedule.job import Job
from pipeline.operations.schedule.steps import Steps, call


def is_there() -> bool:
    """Return whether this machine has a crontab command."""
    return shutil.which("crontab") is not None


def install(job: Job, steps: Steps) -> None:
    """Add a job's line, in place of its earlier one.

    Raises
    ------
    SettingError
        A crontab cannot express the calendar.
    """
    command = job.shell_command.replace("%", r"\%")  # an unescaped % is a line end in a crontab
    line = f"{in_crontab(job.every)} {command} # {job.name}"
    others = [other for other in _lines() if not _is_own(other, job.name)]
    _replace([*others, line], steps)
    steps.report(f"{'would add' if steps.dry else 'added'}: {line}")


def remove(name: str, steps: Steps) -> bool:
    """Remove the line of a name; return whether there was one."""
    lines = _lines() if is_there() else []
    own = [line for line in lines if _is_own(line, name)]
    if own:
        _replace([line for line in lines if line not in own], steps)
        for line in own:
            steps.report(f"{'would remove' if steps.dry else 'removed'}: {line}")
    return bool(own)


def _is_own(line: str, name: str) -> bool:
    return line.endswith(f" # {name}") and not line.lstrip().startswith("#")


def _lines() -> list[str]:
    """Read the user's crontab."""
    done = call("crontab", "-l", LC_ALL="C")  # whose message on a missing crontab is looked at below
    if done.returncode and "no crontab" not in done.stderr:
        raise ScheduleError(f"`crontab -l` failed: {done.stderr.strip()}")
    return done.stdout.removesuffix("\n").split("\n") if done.stdout else []


def _replace(lines: list[str], steps: Steps) -> None:
    if lines:
        steps.run_command("crontab", "-", given="\n".join(lines) + "\n")
    else:
        steps.run_command("crontab", "-r")
