"""Check for the C compiler and Python's headers, which Triton needs when it runs."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path


def problem() -> str | None:
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
