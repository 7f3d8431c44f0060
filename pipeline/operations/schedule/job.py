"""What is to run, and when."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SettingError

CALENDAR_CHARACTERS = r"[A-Za-z0-9 *,:./~+_-]+"
"""Those that systemd.time(7) has a use for, time zones included."""
UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\\]")
"""What systemd and the several crons do not read alike, however it is quoted: control characters, backslashes."""


@dataclass(frozen=True)
class Job:
    """A command that is to be run again and again.

    Parameters
    ----------
    checkout : Path
        The folder to run it in, which is what it is known by.
    command : tuple of str
        The path of a program, and its arguments.
    every : str
        A systemd calendar expression: ``daily``, ``Mon..Fri *-*-* 02:30:00``.
    """

    checkout: Path
    command: tuple[str, ...]
    every: str

    @property
    def name(self) -> str:
        """What the job is called, which no other checkout's is."""
        return name_of(self.checkout)

    @property
    def shell_command(self) -> str:
        """The job as a line for a shell."""
        return f"cd {shlex.quote(str(self.checkout))} && exec {shlex.join(self.command)}"

    def check(self) -> None:
        """Raise `SettingError` if a calendar, a path or a flag is none that can be installed."""
        for text in (str(self.checkout), *self.command):
            if UNSPEAKABLE.search(text):
                raise SettingError(
                    f"{text!r} has a line end, a control character or a backslash, which no timer can be given. "
                    "Move the checkout, or put the setting into luigi.cfg."
                )
        check_calendar(self.every)


def name_of(checkout: Path) -> str:
    """Name the job of a checkout."""
    return f"faster-deep-learning-{hashlib.sha256(bytes(checkout.resolve())).hexdigest()[:8]}"


def check_calendar(every: str) -> None:
    """Raise `SettingError` unless systemd can read an expression, or might where it cannot be asked."""
    expected = "expected daily, hourly, Mon..Fri 02:30 or another calendar expression, as in `man systemd.time`."
    if not every.strip():
        raise SettingError(f"EVERY is empty; {expected} Type `make schedule EVERY=daily`.")
    if not re.fullmatch(CALENDAR_CHARACTERS, every):
        raise SettingError(f"EVERY is {every!r}; {expected}")
    if shutil.which("systemd-analyze"):
        asked = subprocess.run(  # noqa: S603, it is handed to no shell
            ["systemd-analyze", "calendar", "--", every],  # noqa: S607, wherever the system has it
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode:
            raise SettingError(f"EVERY is {every!r}, of which systemd says: {asked.stderr.strip()}; {expected}")
