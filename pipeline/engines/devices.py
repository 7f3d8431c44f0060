"""Choose the engine and the device that compute, without importing an engine."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.engines import kernel_folder, nvidia, pytorch, triton_needs
from pipeline.errors import DeviceError, SettingError, did_you_mean

DEVICES = ("auto", "cpu", "cuda")
"""Values of the setting ``device``, beside ``cuda:0``, ``cuda:1`` and so on for one of several GPUs."""


@dataclass(frozen=True)
class Traits:
    """Facts about an engine."""

    libraries: tuple[str, ...] = ()  # distributions that it needs in this environment
    without_cpu: str = ""  # why it cannot compute on the CPU, if it cannot
    without_cuda: str = ""  # why it cannot use CUDA, if it cannot
    environment: str = ""  # module whose is_ready() checks the environment of its own, if it has one
    problem: Callable[[], str | None] = lambda: None  # finds what it lacks besides libraries
    is_prepared: Callable[[], bool] = lambda: True  # checks, without its libraries, that `Engine.prepare` is not due


ENGINES = {
    "numba": Traits(
        ("numba", "llvmlite"),
        without_cuda="the numba engine has kernels for the CPU only",
        is_prepared=kernel_folder.has_kernels,
    ),
    "torch": Traits(("torch",)),
    "triton": Traits(
        ("torch", "triton"),
        without_cpu="the triton engine has kernels for CUDA only",
        problem=triton_needs.problem,
    ),
    "theano": Traits(
        without_cuda="Theano reaches a GPU through pygpu alone, which is not on PyPI",
        environment="pipeline.engines.theano.environment",
    ),
}
"""Every engine by its name in the setting ``engine``.

``auto`` is numba on the CPU; on CUDA it is triton where all that it needs is there, and otherwise torch.
"""

ASKED = "it was asked for"
NO_TRITON = "Triton is not installed; PyTorch's build for CUDA, of `make pipeline ENGINE=torch`, comes with it"


@dataclass(frozen=True)
class Choice:
    """An engine, a device (``cpu`` or ``cuda``), the reason why it is this device, and the UUIDs of the GPUs to take.

    One GPU computes; it may be any of ``cards``, the first one rather than the others.
    """

    engine: str
    device: str
    reason: str
    cards: tuple[str, ...] = ()


def choose(engine: str, device: str) -> Choice:
    """Choose an engine and a device by the settings ``engine`` and ``device``, each of which may be ``auto``.

    Raise `SettingError` for an unknown engine or device, for torch or triton without the libraries, and for triton on
    the CPU. Raise `DeviceError`, with the missing part, for cuda where it cannot be used.
    """
    check(engine, device)
    on_cpu = "numba" if engine == "auto" else engine
    if ENGINES[on_cpu].without_cpu:
        return _choose_cuda(engine, device)
    if engine == "torch" and (problem := _missing(engine)):
        raise SettingError(
            f"engine is torch, but {problem}, and so does `python -m pipeline.engines.torch.setup`. "
            "Or take another engine, for example --engine numba."
        )
    if device == "cpu":
        return Choice(on_cpu, "cpu", ASKED)
    try:
        cards = _usable_cards("torch" if engine == "auto" else engine, device)
    except DeviceError as error:
        if device != "auto":
            raise DeviceError(f"device is {device}, but {error}. Use --device cpu, or --device auto.") from None
        return Choice(on_cpu, "cpu", f"no CUDA: {error}")
    on_cuda, remark = _engine_on_cuda(engine)
    return Choice(on_cuda, "cuda", _reason(device) + remark, cards)


def usable() -> list[tuple[str, str]]:
    """List each installed engine with each device that it can use on this machine."""
    installed = [engine for engine in ENGINES if not _missing(engine)]
    on_cpu = [engine for engine in installed if not ENGINES[engine].without_cpu]
    return [(engine, "cpu") for engine in on_cpu] + [(engine, "cuda") for engine in installed if _has_cuda(engine)]


def check(engine: str, device: str) -> None:
    """Raise `SettingError` if there is no engine or no device of this name; ``auto`` is allowed for both."""
    if device not in DEVICES and not re.fullmatch(r"cuda:[0-9]{1,4}", device):
        raise SettingError(
            f"device is {device!r}; expected auto, cpu, cuda, or one of several GPUs: cuda:0, cuda:1."
            f"{did_you_mean(device, DEVICES)}"
        )
    if engine != "auto":
        check_engine(engine)


def check_engine(name: str) -> None:
    """Raise `SettingError` if there is no engine of this name."""
    if name not in ENGINES:
        raise SettingError(
            f"engine is {name!r}; expected auto, {' or '.join(ENGINES)}.{did_you_mean(name, ['auto', *ENGINES])}"
        )


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """Return the processor's model name on Linux, and Python's name for it elsewhere."""
    import platform

    cpu_info = Path("/proc/cpuinfo")
    for line in cpu_info.read_text().splitlines() if cpu_info.exists() else []:
        label, _, name = line.partition(":")
        if label.strip() == "model name":
            return name.strip()
    return platform.processor() or platform.machine()


def _choose_cuda(engine: str, device: str) -> Choice:
    """Choose the device of an engine that computes on CUDA alone; raise as `choose`."""
    if device == "cpu":
        raise SettingError(f"device is cpu, but {ENGINES[engine].without_cpu}. Use --engine numba, or --device cuda.")
    try:
        cards = _usable_cards(engine, device)
    except DeviceError as error:
        raise DeviceError(f"engine is {engine}, which needs CUDA, but {error}. Use --engine auto.") from None
    if problem := _missing(engine):
        raise SettingError(f"engine is {engine}, but {problem}. Or take another engine, for example --engine torch.")
    return Choice(engine, "cuda", _reason(device), cards)


def _reason(device: str) -> str:
    return "PyTorch and a GPU are there" if device == "auto" else ASKED


def _engine_on_cuda(engine: str) -> tuple[str, str]:
    """Return the engine for CUDA, and for ``auto`` a remark on what kept it from triton."""
    if engine != "auto":
        return engine, ""
    problem = _missing("triton")
    return ("torch", f"; torch rather than triton: {problem}") if problem else ("triton", "")


def _missing(engine: str) -> str | None:
    """Return which part of an engine is missing on this machine, or None if all are there."""
    traits = ENGINES[engine]
    if traits.environment:
        is_ready = importlib.import_module(traits.environment).is_ready()
        return None if is_ready else f"the environment of {engine} is not built; `make {engine}` builds it"
    for library in traits.libraries:
        if (pytorch.installed() if library == "torch" else importlib.util.find_spec(library)) is None:
            return {"torch": pytorch.NOT_INSTALLED, "triton": NO_TRITON}.get(library, f"{library} is not installed")
    return traits.problem()


def _has_cuda(engine: str) -> bool:
    try:
        return bool(_usable_cards(engine, "cuda"))
    except DeviceError:
        return False


def _usable_cards(engine: str, device: str) -> tuple[str, ...]:
    """Return the UUIDs of the GPUs on which an engine can compute; raise `DeviceError`, with the reason, for none."""
    if reason := ENGINES[engine].without_cuda:
        raise DeviceError(f"{reason}; --engine torch uses CUDA")
    cards = nvidia.visible()
    build = pytorch.installed()
    if build is None:
        raise DeviceError(pytorch.NOT_INSTALLED)
    if problem := build.problem(nvidia.driver()):
        raise DeviceError(problem)
    if number := device.partition(":")[2]:
        if int(number) >= len(cards):
            there = ", ".join(f"cuda:{index} ({card.name})" for index, card in enumerate(cards))
            raise DeviceError(f"CUDA sees {there} alone")
        cards = (cards[int(number)],)
    problems = {card.uuid: build.card_problem(card) for card in cards}
    if all(problems.values()):
        raise DeviceError(problems[cards[0].uuid])
    return tuple(uuid for uuid, problem in problems.items() if not problem)
