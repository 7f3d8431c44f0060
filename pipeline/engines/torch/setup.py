"""Install the build of PyTorch for this machine, unless one that suits it is there.

::

    python -m pipeline.engines.torch.setup

``--for-gpu`` does so only where a GPU can use it. ``--for-tests`` adds Triton, whose kernels are tested without a GPU;
where one of the two cannot be had it says which tests are skipped, except in continuous integration (``CI=true``).
This module needs the standard library alone, because it runs before PyTorch is installed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from pipeline.engines import nvidia, pytorch
from pipeline.engines.torch import builds
from pipeline.errors import DeviceError, EngineError

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements"

INDEX = "https://download.pytorch.org/whl"
"""PyTorch's own index, with a folder for each build."""


def install(log: Callable[[str], None], for_gpu: bool = False) -> None:
    """Install the build of PyTorch for this machine, unless one that suits it is there.

    With ``for_gpu`` install it only where it is one for CUDA. Raise `EngineError` where it cannot be had.
    """
    driver = _driver()
    choice = builds.choose(platform.system(), driver)
    known_to_pip = _version("torch")
    installed = pytorch.installed() if known_to_pip else None  # pip, if it is killed, leaves one that it does not know
    if builds.suits(installed, choice, driver) or (for_gpu and not choice.build.cuda):
        return
    instead = f" instead of {installed.version if installed else 'a damaged one'}" if known_to_pip else ""
    log(f"Installing {choice}{instead}, {choice.reason}; {choice.gigabytes} GB ...")
    if known_to_pip and not installed:
        _pip("uninstall", ["--yes", "torch"], "the damaged PyTorch cannot be removed")
    for arguments in pip_arguments(choice):
        _pip("install", arguments, f"{choice} cannot be installed")


def install_for_tests(log: Callable[[str], None]) -> None:
    """Install PyTorch and Triton; where one cannot be had, log it. Where ``CI`` is set raise `EngineError` instead."""
    try:
        install(log)
        _install_triton(log)
    except EngineError as error:
        if os.environ.get("CI"):
            raise
        log(f"{error}. The tests that need it are skipped.")


def pip_arguments(choice: builds.Choice) -> list[list[str]]:
    """Return what pip is to install, one call after the other.

    On a CPU PyTorch alone is looked up in PyTorch's index: pip waits for an index out of reach at each package.
    """
    if choice.label == "cu130":
        return [_pinned("torch-cuda")]
    index = ["--extra-index-url", f"{INDEX}/{choice.label}"]
    if choice.label == "cpu":
        return [_pinned("torch-needs"), ["--no-deps", *index, *_pinned("torch-cpu")]]
    return [_pinned("torch-needs"), [*index, f"torch=={choice.build.version}"]]


def _pinned(name: str) -> list[str]:
    return ["--require-hashes", "--requirement", str(REQUIREMENTS / f"{name}.txt")]


def _driver() -> nvidia.Driver | str:
    try:
        return nvidia.driver()
    except DeviceError as reason:
        return str(reason)


def _install_triton(log: Callable[[str], None]) -> None:
    """Install the version of Triton that PyTorch's builds for CUDA require; on macOS there is none."""
    pinned = re.search(r"^triton==(\S+)", (REQUIREMENTS / "triton.txt").read_text(), re.MULTILINE)
    if platform.system() != "Linux" or not pinned or _version("triton") == pinned[1]:
        return
    log(f"Installing Triton {pinned[1]}, to test its kernels without a GPU; 0.2 GB ...")
    _pip("install", _pinned("triton"), f"Triton {pinned[1]} cannot be installed")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _pip(command: str, arguments: list[str], failure: str) -> None:
    """Run a command of pip; where it fails raise `EngineError`, with this and the last thing that pip says."""
    options = ["--quiet", "--disable-pip-version-check", "--retries", "2"]
    whole = [sys.executable, "-m", "pip", command, *options, *arguments]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)  # noqa: S603 - of no input
    if done.returncode:
        errors = re.findall(r"^ERROR: (?!ResolutionImpossible)(.+?)\.?$", done.stderr, re.MULTILINE)
        reason = f"{errors[-1] if errors else f'exit status {done.returncode}'} (pip)"
        raise EngineError(f"{failure}: {reason}. Check the network and pip's index, and try again")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()  # before pip takes minutes, and before what is written to stderr


def main() -> None:
    """Install what the flags name, or print why it cannot be installed."""
    parser = argparse.ArgumentParser(description="Install the build of PyTorch for this machine.")
    flags = parser.add_mutually_exclusive_group()
    flags.add_argument("--for-gpu", action="store_true", help="only where a GPU can use it")
    flags.add_argument("--for-tests", action="store_true", help="and Triton; go on without, except where CI is set")
    asked = parser.parse_args()
    try:
        if asked.for_tests:
            install_for_tests(_say)
        else:
            install(_say, asked.for_gpu)
    except EngineError as error:
        sys.exit(f"{error}{', or compute on the CPU: ENGINE=numba DEVICE=cpu' if asked.for_gpu else ''}.")


if __name__ == "__main__":
    main()
