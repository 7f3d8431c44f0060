"""The parts of the check."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from pipeline.engines import devices

ENGINES = [name for name, traits in devices.ENGINES.items() if not traits.without_cuda]
"""The engines that can use a GPU."""

CORES_OF_A_WORKER = 2
"""Cores for each of the processes into which pytest-xdist divides tests."""


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Parameters
    ----------
    about : str
        What it shows.
    command : tuple of str
        Arguments of Python.
    seconds : float
        The most seconds that it may take.
    is_alone : bool
        Whether nothing else may compute meanwhile, because it measures.
    engine : str
        The engine that it needs, if it is of one alone.
    """

    name: str
    about: str
    command: tuple[str, ...]
    seconds: float
    is_alone: bool = False
    engine: str = ""


def parts(engines: list[str], plan: str = "") -> list[Part]:
    """List all parts for some engines, in the order in which they begin; ``plan`` is their `Plan` in JSON."""

    def own(program: str, *arguments: str) -> tuple[str, ...]:
        return ("-m", f"check_gpu.{program}", plan, *arguments)

    return [
        Part(
            "data", "numba on the CPU trains an epoch, so that data sets and its kernels are there", own("prepare"), 100
        ),
        *tests(engines),
        *(
            Part(
                f"trainings {engine}",
                "Luigi with two workers ends with the bytes of one process, and so does a second training",
                own("two_trainings", engine),
                130,
                engine=engine,
            )
            for engine in engines
        ),
        Part("layouts", "convolutions: flat stays flat, the same bits, microseconds", own("layouts"), 40, True),
        Part("check-device", "exp() on each engine and device, beside the article", own("exponentials"), 60, True),
        Part("profile", "what the time of a step is spent on, by kernel", own("step_profile"), 60, True),
        Part("epochs", "seconds an epoch by each way to train", own("epochs"), 150, True),
        Part("table", "the article's table, of each engine and device", own("comparison"), 150, True),
    ]


def tests(engines: list[str]) -> list[Part]:
    """List parts for the tests of each engine, and one for those of the choice of a device."""
    workers = max(2, devices.cores() // CORES_OF_A_WORKER)
    side_by_side = ("-n", str(workers), "--dist", "loadgroup") if importlib.util.find_spec("xdist") else ()
    # Warnings are no errors: the machine's PyTorch may be an older or a newer one than the pinned one.
    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "-m", "not slow and not registry")
    subjects = [(engine, engine, [f"tests/test_engine_{engine}.py"]) for engine in engines]
    if "triton" in engines:
        subjects.append(("fused kernels", "triton", ["tests/test_fused_engines.py", "-k", "triton"]))
    subjects.append(("the device", "", ["tests/test_devices.py", "tests/test_device_check.py"]))
    return [
        Part(f"tests of {subject}", " ".join(tests), (*pytest, *side_by_side, *tests), 150, engine=engine)
        for subject, engine, tests in subjects
    ]
