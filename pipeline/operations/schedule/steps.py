"""Change the machine in steps, and print each step; a dry run only prints them."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ScheduleError
from pipeline.files.whole_file import write_text


def call(*command: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program with a text on its standard input, and return its exit status and output."""
    return subprocess.run(  # noqa: S603, no shell reads it
        command,
        input=given.encode(errors="surrogateescape"),  # a crontab may have bytes that are not UTF-8
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )


@dataclass(frozen=True)
class Steps:
    """Changes files and runs commands, and prints each step.

    Parameters
    ----------
    report : callable
        Receives the lines of each step.
    dry : bool
        Only print the steps.
    """

    report: Callable[[str], None]
    dry: bool = False

    def write_file(self, path: Path, text: str) -> None:
        """Write a file."""
        self._print_step(f"write {path}", text)
        if not self.dry:
            write_text(path, text, ScheduleError)

    def remove_file(self, path: Path) -> None:
        """Remove a file."""
        self._print_step(f"remove {path}")
        if not self.dry:
            path.unlink()

    def run_command(self, *command: str, given: str = "") -> None:
        """Run a command with a text on its standard input."""
        self._print_step(f"run {shlex.join(command)}")
        if not self.dry:
            done = call(*command, given=given)
            if done.returncode:
                printed = (done.stderr or done.stdout).decode(errors="replace").strip()
                raise ScheduleError(f"`{shlex.join(command)}` failed with exit status {done.returncode}: {printed}")

    def _print_step(self, step: str, text: str = "") -> None:
        self.report("\n".join([f"would {step}" if self.dry else step, *(f"    {line}" for line in text.splitlines())]))
