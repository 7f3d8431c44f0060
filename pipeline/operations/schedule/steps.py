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


def call(*command: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with a text on its standard input, and return its exit status and output.

    Bytes that are not UTF-8, which a crontab may have, are surrogates in both texts (PEP 383).
    """
    done = subprocess.run(  # noqa: S603, no shell reads it
        command, input=os.fsencode(given), capture_output=True, env={**os.environ, **environment}, check=False
    )
    return subprocess.CompletedProcess(command, done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))


@dataclass(frozen=True)
class Steps:
    """Changes files and runs commands, and reports each step; a dry run only reports them."""

    report: Callable[[str], None]
    dry: bool = False

    def write_file(self, path: Path, text: str) -> None:
        """Write a file."""
        self._report_step(f"write {path}", text)
        if not self.dry:
            write_text(path, text, ScheduleError)

    def remove_file(self, path: Path) -> None:
        """Remove a file."""
        self._report_step(f"remove {path}")
        if not self.dry:
            path.unlink()

    def run_command(self, *command: str, given: str = "") -> None:
        """Run a command with a text on its standard input."""
        self._report_step(f"run {shlex.join(command)}")
        if not self.dry:
            done = call(*command, given=given)
            if done.returncode:
                printed = (done.stderr or done.stdout).strip()
                raise ScheduleError(f"`{shlex.join(command)}` failed with exit status {done.returncode}: {printed}")

    def _report_step(self, step: str, text: str = "") -> None:
        self.report("\n".join([f"would {step}" if self.dry else step, *(f"    {line}" for line in text.splitlines())]))
