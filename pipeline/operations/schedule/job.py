"""Describe and check a command to run regularly, and its calendar."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SettingError
from pipeline.operations.schedule.steps import call


@dataclass(frozen=True)
class Job:
    """A program with its arguments, to run in a checkout, which identifies the job.

    ``every`` is a systemd calendar expression: ``daily``, ``Mon..Fri *-*-* 02:30:00``.
    """

    checkout: Path
    command: tuple[str, ...]
    every: str

    @property
    def name(self) -> str:
        """The name of the job, which differs from checkout to checkout."""
        return name_of(self.checkout)

    @property
    def shell_command(self) -> str:
        """The job as a line for a shell."""
        return f"cd {shlex.quote(str(self.checkout))} && exec {shlex.join(self.command)}"

    def check(self) -> None:
        """Raise `SettingError` if the calendar is wrong, or a path or a flag cannot be quoted."""
        for text in (str(self.checkout), *self.command):
            if re.search(r"[\x00-\x1f\x7f\\]", text):  # systemd and the crons read these differently, even in quotes
                raise SettingError(
                    f"{text!r} has a line end, a control character or a backslash, which a timer cannot take. "
                    "Move the checkout, or put the setting into luigi.cfg."
                )
        check_calendar(self.every)


def name_of(checkout: Path) -> str:
    """Name the job of a checkout."""
    return f"faster-deep-learning-{hashlib.sha256(bytes(checkout.resolve())).hexdigest()[:8]}"


def check_calendar(every: str) -> None:
    """Raise `SettingError` if systemd rejects an expression or, without systemd, if it has a wrong character."""
    expected = "expected daily, hourly, Mon..Fri 02:30 or another calendar expression, as in `man systemd.time`."
    if not every.strip():
        raise SettingError(f"EVERY is empty; {expected} Type `make schedule EVERY=daily`.")
    if not re.fullmatch(r"[A-Za-z0-9 *,:./~+_-]+", every):  # the characters of systemd.time(7), with time zones
        raise SettingError(f"EVERY is {every!r}; {expected}")
    if shutil.which("systemd-analyze"):
        done = call("systemd-analyze", "calendar", "--", every)
        if done.returncode:
            raise SettingError(f"EVERY is {every!r}, which systemd rejects: {done.stderr.strip()}; {expected}")
