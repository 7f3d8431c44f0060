"""Check everything that needs a GPU: first correctness, then speed.

The command ends with a row for each part, which begins with ``pass``, ``fail`` or ``not run``. Its exit status is 0 if
every part has passed, 1 if not, and 2 where there is no GPU, which checks nothing. Parts of an engine that lacks
something, such as a C compiler, are ``not run``. The command leaves ``summary.txt``, ``results.jsonl``, the article's
table and a log of each part.

Run it with ``make check-gpu``. On a machine that reaches no registry, with PyTorch, NumPy, h5py, Numba, matplotlib,
Pillow and pytest in its own Python, ``make check-gpu WHEELS=folder PYTHON=python3`` takes the others from a folder:

    pip download --no-deps -d folder luigi tornado tenacity python-daemon lockfile tqdm urllib3 prometheus_client
    pip download --no-deps -d folder obstore typing_extensions pytest-xdist execnet

Where matplotlib and Pillow are missing too, get them for the machine's version of Python:

    plotting="matplotlib contourpy cycler fonttools kiwisolver packaging pillow pyparsing python-dateutil six"
    pip download --no-deps --only-binary :all: --python-version 3.12 -d folder $plotting
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from check_gpu import processes
from check_gpu.parts import ENGINES, Part, parts
from check_gpu.plan import Plan
from check_gpu.processes import NOT_RUN, Outcome
from check_gpu.summary import Summary
from measuring import machine, shown
from pipeline.engines import devices
from pipeline.errors import PipelineError

LOGS = "logs"
"""The folder in ``--out`` with a log of each part."""

CORES_OF_A_PART = 2
"""Cores for each of the parts that run side by side."""


def main() -> None:
    """Check, and end with the exit status."""
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    lacking = {engine: reason for engine in ENGINES if (reason := why_not(engine, options.device))}
    engines = [engine for engine in ENGINES if engine not in lacking]
    if not engines:
        print(nothing_to_check(options, lacking["torch"]))
        sys.exit(2)
    with tempfile.TemporaryDirectory(prefix="check-gpu-") as work:
        archive = str(options.archive.absolute()) if options.archive else ""
        plan = Plan(options.device, engines, archive, work, str(options.out.absolute()))
        has_passed = check(plan, options, {} if plan.is_trial else lacking)
    sys.exit(0 if has_passed else 1)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "make check-gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    default = Path(os.environ.get("OUT") or shown.ROOT / "outputs" / "check-gpu")
    parser.add_argument("--archive", type=Path, help="CIFAR-10 for the article's table (default: the demo's digits)")
    parser.add_argument("--wheels", type=Path, help="a folder with the wheels that this Python lacks")
    parser.add_argument("--out", type=Path, default=default, help="the folder to write (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=330, help="the most that all may take (default: %(default)s)")
    parser.add_argument("--only", default="", help="names of parts with commas between them")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the command, without a GPU"
    )
    options = parser.parse_args()
    if options.seconds < 1:
        parser.error(f"--seconds is {options.seconds}; expected at least 1")
    if options.archive and not options.archive.is_file():
        parser.error(f"--archive is {options.archive}, and no such file is there")
    known = [part.name for part in parts(ENGINES)]
    if unknown := set(filter(None, options.only.split(","))) - set(known):
        parser.error(f"--only names {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    try:
        (options.out / LOGS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out is {options.out}, which cannot be written: {error.strerror}")
    return options


def why_not(engine: str, device: str) -> str:
    """Return the reason why an engine cannot compute on a device, or an empty text."""
    try:
        devices.choose(engine, device)
    except PipelineError as error:
        return str(error)
    return ""


def nothing_to_check(options: argparse.Namespace, reason: str) -> str:
    """Say why there is no GPU, and what would be checked on one."""
    would = [f"  {part.name:20}{part.about}" for part in chosen(parts(ENGINES), options.only)]
    return "\n".join([f"Nothing was checked: {reason}", "With a GPU this would run:", *would])


def check(plan: Plan, options: argparse.Namespace, lacking: dict[str, str]) -> bool:
    """Run the parts of all engines but those that lack something, print the summary, return whether all have passed."""
    deadline = time.monotonic() + options.seconds
    to_run = chosen(parts([*plan.engines, *lacking], plan.as_argument()), options.only)
    heading = description(plan)
    print(heading, flush=True)
    summary = Summary(heading, Path(plan.out), to_run)
    side_by_side = max(1, devices.cores() // CORES_OF_A_PART)
    try:
        for part in to_run:
            if part.engine in lacking:
                summary.add(Outcome(part, NOT_RUN, 0, lacking[part.engine]))
        for is_alone, at_once in ((False, side_by_side), (True, 1)):
            group = [part for part in to_run if part.is_alone == is_alone and part.engine not in lacking]
            processes.run(group, deadline, Path(plan.out, LOGS), at_once=at_once, on_end=summary.add)
    finally:
        print(f"\n{summary.verdict()}\nLogs and figures are in {plan.out}.", flush=True)
    return summary.has_passed


def chosen(listed: list[Part], only: str) -> list[Part]:
    """Return the parts that ``--only`` names, or all."""
    names = list(filter(None, only.split(",")))
    return [part for part in listed if not names or part.name in names]


def description(plan: Plan) -> str:
    """Describe the machine, and say so where no GPU is checked."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_mode", "--format=csv,noheader"]
    try:
        gpus = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        gpus = f"no answer from nvidia-smi ({error})"
    versions = []
    for name in ("torch", "triton", "jax", "numba", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    on = machine.description()
    missing = [name for name in needed() if not is_installed(name)]
    return "\n".join(
        [
            "A trial on the CPU: no GPU is checked." if plan.is_trial else f"GPU: {gpus}",
            f"{on['cores']} cores of {on['processor']}; Python {on['python']}, {', '.join(versions)}",
            f"engines: {', '.join(plan.engines)}; the table is of {plan.archive or 'small images'}",
            *([f"This Python lacks {', '.join(missing)}: parts that need it fail; see --help."] if missing else []),
        ]
    )


def needed() -> list[str]:
    """Return the names of the packages that the parts need."""
    project = tomllib.loads((shown.ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], "pytest"]


def is_installed(name: str) -> bool:
    """Return whether this Python has a package."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(name))
    return False


def end(*_: object) -> NoReturn:
    """End as `sys.exit` does, so that no part stays behind."""
    sys.exit(1)
