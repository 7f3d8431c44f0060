"""Check what the triton engine needs besides its libraries: a new Triton, and what that compiles with."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from pipeline.engines import c_compiler, pytorch

OLDEST = (3, 5)
"""The oldest Triton that compiles the kernels (``python -m tests.compiled_kernels cnn 90``): that of PyTorch 2.9."""


def problem() -> str | None:
    """Return what is missing for an installed Triton to compile the kernels, or None if nothing is."""
    spec = importlib.util.find_spec("triton")
    source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    version = re.search(r"^__version__ = ['\"]((\d+)\.(\d+)[^'\"]*)", source, re.MULTILINE)
    if version and (int(version[2]), int(version[3])) < OLDEST:
        return f"Triton {version[1]} is older than {OLDEST[0]}.{OLDEST[1]}: {pytorch.RIGHT_BUILD}"
    return c_compiler.problem()
