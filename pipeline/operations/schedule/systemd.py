"""Install and remove a timer of the user's systemd, and the service that it starts."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.operations.schedule.job import Job
from pipeline.operations.schedule.steps import Steps, call


def is_running() -> bool:
    """Return whether systemd runs for this user."""
    return _answer("systemctl", "--user", "show-environment") is not None


def install(job: Job, steps: Steps) -> None:
    """Write both units and start the timer."""
    timer = f"{job.name}.timer"
    for name, text in units(job).items():
        steps.write_file(_folder() / name, text)
    steps.run_command("systemctl", "--user", "daemon-reload")
    steps.run_command("systemctl", "--user", "enable", timer)
    steps.run_command("systemctl", "--user", "restart", timer)  # a timer that runs already takes its new time only then
    if _answer("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value") == "no":
        steps.report("It runs while you are logged in; `loginctl enable-linger` lets it run when you are not.")


def remove(name: str, steps: Steps) -> bool:
    """Stop a timer and remove its units; return whether there were any."""
    folder, timer = _folder(), f"{name}.timer"
    paths = [folder / "timers.target.wants" / timer, folder / timer, folder / f"{name}.service"]
    if not any(map(os.path.lexists, paths)):
        return False
    running = is_running()
    if running and (folder / timer).exists():
        steps.run_command("systemctl", "--user", "disable", "--now", timer)
        # Otherwise the next timer of this name would catch up on the times since this one's last run.
        steps.run_command("systemctl", "--user", "clean", "--what=state", timer)
    for path in filter(os.path.lexists, paths):
        steps.remove_file(path)
    if running:
        steps.run_command("systemctl", "--user", "daemon-reload")
    return True


def units(job: Job) -> dict[str, str]:
    """Return the units of the command and of its timer, which catches up on times at which the machine was off."""
    checkout, *command = (part.replace("%", "%%") for part in (str(job.checkout), *job.command))  # % begins a specifier
    quoted = " ".join('"' + part.replace('"', '\\"') + '"' for part in command)
    service = f"""[Unit]
Description=The pipeline in {checkout}

[Service]
Type=oneshot
WorkingDirectory={checkout}
ExecStart=:{quoted}
"""  # the colon keeps systemd from expanding $
    timer = f"""[Unit]
Description=The pipeline in {checkout}, {job.every}

[Timer]
OnCalendar={job.every}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{job.name}.service": service, f"{job.name}.timer": timer}


def _folder() -> Path:
    configuration = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(configuration, "systemd", "user")


def _answer(*command: str) -> str | None:
    """Return the output of a command; None where it is missing or fails."""
    try:
        done = call(*command)
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()
