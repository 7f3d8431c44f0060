"""Install and remove a line of the user's crontab, marked by a comment at its end. All other lines stay."""

from __future__ import annotations

import shutil

from pipeline.errors import ScheduleError
from pipeline.operations.schedule import expressions
from pipeline.operations.schedule.job import Job
from pipeline.operations.schedule.steps import Steps, call


def is_there() -> bool:
    """Return whether this machine has a crontab command."""
    return shutil.which("crontab") is not None


def line(job: Job) -> str:
    """Return the line of a job. Cron takes an unescaped ``%`` for a line end; ``sh`` skips the comment.

    Raises
    ------
    SettingError
        A crontab cannot express the calendar.
    """
    command = job.shell_command.replace("%", r"\%")
    return f"{expressions.in_crontab(job.every)} {command} {_mark(job.name)}"


def install(name: str, line: str, steps: Steps) -> None:
    """Add a line, in place of the one of the same name."""
    _replace([*(other for other in _lines() if not _is_own(other, name)), line], steps)
    steps.report(f"added: {line}" if not steps.dry else f"would add: {line}")


def remove(name: str, steps: Steps) -> bool:
    """Remove the line of a name; return whether there was one."""
    lines = _lines() if is_there() else []
    own = [line for line in lines if _is_own(line, name)]
    if own:
        _replace([line for line in lines if line not in own], steps)
        for line in own:
            steps.report(f"{'would remove' if steps.dry else 'removed'}: {line}")
    return bool(own)


def _mark(name: str) -> str:
    return f"# {name}"


def _is_own(line: str, name: str) -> bool:
    return line.endswith(f" {_mark(name)}") and not line.lstrip().startswith("#")


def _lines() -> list[str]:
    """Read the user's crontab."""
    done = call("crontab", "-l", LC_ALL="C")  # whose message on a missing crontab is looked at below
    if done.returncode and b"no crontab" not in done.stderr:
        raise ScheduleError(f"`crontab -l` failed: {done.stderr.decode(errors='replace').strip()}")
    return [] if done.returncode else done.stdout.decode(errors="surrogateescape").splitlines()


def _replace(lines: list[str], steps: Steps) -> None:
    if lines:
        steps.run_command("crontab", "-", given="\n".join(lines) + "\n")
    else:
        steps.run_command("crontab", "-r")
