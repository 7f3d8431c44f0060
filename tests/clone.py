"""A fresh clone of the project, and what a person types in it."""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.checkout import KERNELS, ROOT, small_archive

NOT_INHERITED = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
"""A terminal that was just opened has none of these; the make that runs the tests hands its own on.

Images of containers set PYTHONDONTWRITEBYTECODE, with which each command would compile its libraries anew: 5 s of CPU.
"""


VARIABLES = {"NUMBA_CACHE_DIR": str(KERNELS), "PIP_COMPILE": "no"}
"""To compile all modules of the libraries takes most of a set-up; the commands then compile those that they import."""


class Clone:
    def __init__(self, folder):
        self.folder = folder

    def shell(self, command, status=0):
        """Type a command, as after opening a terminal in the checkout, and return what it prints."""
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=inherited | VARIABLES,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout


def fresh_clone(folder):
    """Copy what git would, uncommitted changes too, and put an archive of a few images beside it."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    small_archive(folder / "mine.tar.gz")
    return Clone(folder)
