"""Check what the triton engine needs besides its libraries: a new Triton, a C compiler and Python's headers."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sysconfig
from pathlib import Path

from pipeline.engines import pytorch

OLDEST = (3, 5)
"""The oldest Triton that compiles the kernels (``python -m tests.compiled_kernels cnn 90``): that of PyTorch 2.9."""


def problem() -> str | None:
    """Return what is missing for an installed Triton to compile the kernels, or None if nothing is."""
    spec = importlib.util.find_spec("triton")
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    version = re.search(r"^__version__ = ['\"]((\d+)\.(\d+)[^'\"]*)", source, re.MULTILINE)
    if version and (int(version[2]), int(version[3])) < OLDEST:
        return f"Triton {version[1]} is older than {OLDEST[0]}.{OLDEST[1]}: {pytorch.RIGHT_BUILD}"
    return _compiler_problem()


def _compiler_problem() -> str | None:
    """Return what is missing to compile an extension of Python, as Triton does, or None if nothing is.

    Triton calls ``$CC``, gcc or clang, and takes the headers from the scheme of a Python that is not Debian's
    (``triton/runtime/build.py`` of Triton 3.7).
    """
    named = os.environ.get("CC")
    if named is not None and shutil.which(named) is None:
        return f"CC is {named!r}, which is no program"
    if not any(map(shutil.which, [named] if named else ["gcc", "clang"])):
        return "there is no C compiler: install gcc or clang, or name another in CC"
    scheme = sysconfig.get_default_scheme()
    headers = Path(sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"])
    if not (headers / "Python.h").is_file():
        return f"there is no {headers / 'Python.h'}: install Python's headers (on Debian python3-dev)"
    return None
