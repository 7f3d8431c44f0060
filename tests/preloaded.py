"""Run commands in processes that are forked after everything is imported, as a scheduled run is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.checkout import Checkout

PROGRAM = """
import json, os, runpy, sys
import tasks
for line in sys.stdin:
    printed, module, *arguments = json.loads(line)
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


class Preloaded:
    """A process in a checkout that has imported ``tasks``, with luigi.cfg as it was then, and forks for each command.

    To start Python and to import Luigi takes three quarters of a command that fails at once.
    """

    def __init__(self, checkout: Checkout) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=checkout.folder,
            env=checkout.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, printed: Path, *command: str) -> int:
        """Run ``python -m`` with a module and its arguments; write all it prints to a file, return its exit status."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([str(printed), *command]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()
