"""Read which CUDA the installed PyTorch was built for, without importing it, and what that needs."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.engines.nvidia import Card, Driver

NOT_INSTALLED = "PyTorch is not installed; `make pipeline ENGINE=torch` installs it"
RIGHT_BUILD = "`make pipeline ENGINE=torch` installs the build for this machine"

KERNELS = (7, 5), (99, 0)
OLDER_KERNELS = (5, 0), (10, 0)
"""Compute capabilities, from one up to another, for which PyTorch 2.13 has kernels: its builds for CUDA 12.8 and later,
and for 12.6.

From "PyTorch CUDA Support Matrix" in PyTorch's ``RELEASE.md``; CUDA 13 itself begins at 7.5.
"""

LEAST_ON_ARM = (8, 0)
"""The least of them for aarch64; from ``PYTORCH_RELEASES_CODE_CC`` in ``torch/cuda/__init__.py`` of 2.13.0."""


@dataclass(frozen=True)
class Build:
    """A build of PyTorch: its version, and the CUDA, as (13, 0), or ROCm, and the processor that it was built for."""

    version: str
    cuda: tuple[int, int] | None
    rocm: str | None = None
    processor: str = os.uname().machine

    def problem(self, driver: Driver) -> str | None:
        """Return the reason why a driver cannot run this build, or None if it can.

        A driver runs what was built for any minor version of its own major version, and for older versions (NVIDIA's
        "CUDA Compatibility", minor version compatibility: CUDA 12 needs a driver from 525, CUDA 13 one from 580).
        """
        if self.rocm:
            return f"PyTorch {self.version} was built for ROCm, which is untested here"
        if self.cuda is None:
            return f"PyTorch {self.version} was built without CUDA"
        if driver.cuda[0] < self.cuda[0]:
            return (
                f"PyTorch {self.version} was built for CUDA {_dotted(self.cuda)}, and the NVIDIA driver runs CUDA "
                f"{_dotted(driver.cuda)}: install a newer driver, or {RIGHT_BUILD}"
            )
        return None

    def card_problem(self, card: Card) -> str | None:
        """Return the reason why a GPU cannot run this build, or None if it can."""
        if card.fault:
            return f"{card.name}: {card.fault}"
        if card.capability is None or self.cuda is None:
            return None
        least, below = OLDER_KERNELS if self.cuda < (12, 8) else KERNELS
        if self.processor == "aarch64":
            least = LEAST_ON_ARM
        if least <= card.capability < below:
            return None
        needed = f"{_dotted(least)} {'or higher' if below == KERNELS[1] else f'to {below[0] - 1}.x'}"
        return (
            f"{card.name} has compute capability {_dotted(card.capability)}, and PyTorch {self.version}, built for "
            f"CUDA {_dotted(self.cuda)}, needs {needed}: {RIGHT_BUILD}, if there is one"
        )


@functools.cache
def installed() -> Build | None:
    """Return the build of PyTorch in this environment, or None where there is none, or only parts of one."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        values = _constants(Path(spec.origin).with_name("version.py"))
        version, cuda = values["__version__"], values.get("cuda")
        return Build(str(version), _version(cuda) if cuda else None, values.get("hip"))
    except (OSError, SyntaxError, ValueError, KeyError):
        return None


def _constants(path: Path) -> dict[str, str | None]:
    """Return the texts that a module assigns to names; PyTorch writes them with and without annotations."""
    found: dict[str, str | None] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(name)], value=ast.Constant(value))
                | ast.AnnAssign(target=ast.Name(name), value=ast.Constant(value))
            ) if value is None or isinstance(value, str):
                found[name] = value
    return found


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
