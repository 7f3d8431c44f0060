"""What is done to the machine, a step at a time: done and told, or only told."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ScheduleError
from pipeline.files.whole_file import write_text


@dataclass(frozen=True)
class Steps:
    """Does things and says so.

    Parameters
    ----------
    say : callable
        Is told each step, in lines.
    dry : bool
        Whether to say only what would be done.
    """

    say: Callable[[str], None]
    dry: bool = False

    def write(self, path: Path, text: str) -> None:
        """Write a file."""
        self._tell(f"write {path}", text)
        if not self.dry:
            write_text(path, text, ScheduleError)

    def delete(self, path: Path) -> None:
        """Remove a file."""
        self._tell(f"remove {path}")
        if not self.dry:
            path.unlink()

    def call(self, *command: str, given: str = "") -> None:
        """Run a command with a text on its standard input."""
        self._tell(f"run {shlex.join(command)}")
        if not self.dry:
            done = subprocess.run(  # noqa: S603, it is handed to no shell
                command, input=given.encode(errors="surrogateescape"), capture_output=True, check=False
            )
            if done.returncode:
                said = (done.stderr or done.stdout).decode(errors="replace").strip()
                raise ScheduleError(f"`{shlex.join(command)}` failed with exit status {done.returncode}: {said}")

    def _tell(self, what: str, text: str = "") -> None:
        self.say("\n".join([f"would {what}" if self.dry else what, *(f"    {line}" for line in text.splitlines())]))
