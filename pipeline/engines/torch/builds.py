"""Choose the build of PyTorch for a machine: for the CPU, or for a CUDA version that its driver and GPUs can run.

PyPI's build for Linux is one for CUDA and takes gigabytes; PyTorch's own index has the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.engines.nvidia import Driver
from pipeline.engines.pytorch import Build

VERSION = "2.13.0"

FOR_CPU = Build(f"{VERSION}+cpu", None)

FOR_CUDA = tuple(Build(f"{VERSION}+cu{major}{minor}", (major, minor)) for major, minor in ((13, 0), (12, 9), (12, 6)))
"""The preferred build first: that of PyPI, whose hashes are pinned.

Source: ``PYTORCH_RELEASES_CODE_CC`` in ``torch/cuda/__init__.py`` of 2.13.0. Its fourth, for CUDA 13.2, runs nowhere
where the first does not.
"""

GIGABYTES = {"cpu": "0.2", "cu130": "2.7"}
"""What is fetched, PyTorch and what it needs, on Linux; the builds for CUDA 12 are about as large."""


@dataclass(frozen=True)
class Choice:
    """A build for a machine, and the reason for it."""

    build: Build
    reason: str

    def __str__(self) -> str:
        kind = "CUDA {}.{}".format(*self.build.cuda) if self.build.cuda else "the CPU"
        return f"PyTorch {VERSION} for {kind}"

    @property
    def label(self) -> str:
        """``cpu``, ``cu130``, ...: the build's local version, and its folder in PyTorch's index."""
        return self.build.version.partition("+")[2]

    @property
    def gigabytes(self) -> str:
        return GIGABYTES.get(self.label, "about 3")


def choose(system: str, driver: Driver | str) -> Choice:
    """Choose the build for a system, as ``platform.system()`` names it, and a driver, or the reason why there is none.

    uv's ``--torch-backend=auto`` goes by the driver in the same way (``LINUX_CUDA_DRIVERS`` in its ``uv-torch``), but
    not by the GPUs: https://docs.astral.sh/uv/guides/integration/pytorch.
    """
    if system != "Linux":
        return Choice(FOR_CPU, f"because PyTorch has no other for {'macOS' if system == 'Darwin' else system}")
    if isinstance(driver, str):
        return Choice(FOR_CPU, f"because {driver}")
    names = " and ".join(sorted({card.name for card in driver.cards}))
    machine = "the driver (CUDA {}.{}) and {}".format(*driver.cuda, names)
    best = max(FOR_CUDA, key=lambda build: _cards(build, driver))  # the first of equal ones
    if not _cards(best, driver):
        return Choice(FOR_CPU, f"because {machine} can run none for CUDA")
    return Choice(best, f"which {machine} can run")


def suits(installed: Build | None, choice: Choice, driver: Driver | str) -> bool:
    """Check whether the installed PyTorch can stay: it uses what the chosen build would use."""
    if installed is None or installed.version.partition("+")[0] != VERSION:
        return False
    return not choice.build.cuda or (isinstance(driver, Driver) and _cards(installed, driver) > 0)


def _cards(build: Build, driver: Driver) -> int:
    """Return the number of GPUs on which a build can compute."""
    return 0 if build.problem(driver) else sum(build.card_problem(card) is None for card in driver.cards)
