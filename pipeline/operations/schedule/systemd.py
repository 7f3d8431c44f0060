"""A timer of the user's systemd, and the service that it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from pipeline.operations.schedule.job import Job
from pipeline.operations.schedule.steps import Steps


def is_running() -> bool:
    """Tell whether this user has a systemd to talk to."""
    return shutil.which("systemctl") is not None and _answers("systemctl", "--user", "show-environment") is not None


def install(job: Job, steps: Steps) -> None:
    """Write both units and start the timer."""
    timer = f"{job.name}.timer"
    steps.write(_folder() / f"{job.name}.service", service(job))
    steps.write(_folder() / timer, timer_unit(job))
    steps.call("systemctl", "--user", "daemon-reload")
    steps.call("systemctl", "--user", "enable", timer)
    steps.call("systemctl", "--user", "restart", timer)  # one that is there already takes its new time only so
    if _answers("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value") == "no":
        steps.say("It runs while you are logged in; `loginctl enable-linger` lets it run when you are not.")


def remove(name: str, steps: Steps) -> bool:
    """Stop a timer and remove its units; tell whether there were any."""
    folder = _folder()
    paths = [folder / "timers.target.wants" / f"{name}.timer", folder / f"{name}.timer", folder / f"{name}.service"]
    if not any(path.is_symlink() or path.exists() for path in paths):
        return False
    running = is_running()
    if running and paths[1].exists():
        steps.call("systemctl", "--user", "disable", "--now", f"{name}.timer")
        # When it ran last would be held against the next timer of this name, as a time that was missed.
        steps.call("systemctl", "--user", "clean", "--what=state", f"{name}.timer")
    for path in paths:
        if path.is_symlink() or path.exists():
            steps.delete(path)
    if running:
        steps.call("systemctl", "--user", "daemon-reload")
    return True


def service(job: Job) -> str:
    """Return the unit of the command. The colon keeps systemd from reading ``$`` as a variable."""
    return f"""[Unit]
Description=The pipeline in {_specifiers_escaped(str(job.checkout))}

[Service]
Type=oneshot
WorkingDirectory={_specifiers_escaped(str(job.checkout))}
ExecStart=:{" ".join(map(_quoted, job.command))}
"""


def timer_unit(job: Job) -> str:
    """Return the unit of the timer; a time at which the machine was off is made up for."""
    return f"""[Unit]
Description=The pipeline in {_specifiers_escaped(str(job.checkout))}, {job.every}

[Timer]
OnCalendar={job.every}
Persistent=true

[Install]
WantedBy=timers.target
"""


def _folder() -> Path:
    configuration = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configuration) if configuration else Path.home() / ".config") / "systemd" / "user"


def _quoted(argument: str) -> str:
    escaped = argument.replace('"', '\\"')
    return f'"{_specifiers_escaped(escaped)}"'


def _specifiers_escaped(text: str) -> str:
    return text.replace("%", "%%")


def _answers(*command: str) -> str | None:
    """Return what a command prints; None where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603, constants
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()
