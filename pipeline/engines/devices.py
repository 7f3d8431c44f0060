"""Which engine computes, and on which device, found without importing an engine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DeviceError, SettingError, did_you_mean

DEVICES = ("auto", "cpu", "cuda")
"""What the setting ``device`` takes."""


@dataclass(frozen=True)
class Traits:
    """What is known of an engine without importing it.

    Parameters
    ----------
    devices : tuple of str
        Those that it can use.
    libraries : tuple of str
        Distributions that it computes with.
    without_cuda : str
        Why it cannot use CUDA, where it cannot.
    """

    devices: tuple[str, ...]
    libraries: tuple[str, ...]
    without_cuda: str = ""


FLOAT_TYPES = ("float32", "float64")
"""What the theano engine can compute in."""

ENGINES = {
    "numba": Traits(("cpu",), ("numba", "llvmlite"), "the numba engine has kernels for the CPU only"),
    "torch": Traits(("cpu", "cuda"), ("torch",)),
    # Theano's libraries are in an environment of their own.
    "theano": Traits(("cpu",), (), "Theano reaches a GPU through pygpu alone, which is not on PyPI"),
}
"""Every engine by the name that ``--engine`` takes; ``auto`` takes torch on CUDA and numba elsewhere."""


NO_PYTORCH = "PyTorch is not installed; `make pipeline ENGINE=torch` installs it"


@dataclass(frozen=True)
class Choice:
    """What the settings ``engine`` and ``device`` come to; ``reason`` says why it is this device."""

    engine: str
    device: str
    reason: str


def choose(engine: str, device: str) -> Choice:
    """Turn the settings ``engine`` and ``device``, each of which may be ``auto``, into what computes.

    Raises
    ------
    SettingError
        No engine or device has this name, or PyTorch was asked for and is not installed.
    DeviceError
        CUDA was asked for and cannot be used; the message says what is missing.
    """
    check(engine, device)
    if engine == "torch" and _pytorch_version() is None:
        raise SettingError(
            f"engine is torch, but {NO_PYTORCH}, and so does `pip install -r requirements/torch.txt`. "
            "Or take another engine, such as --engine numba."
        )
    if device == "cpu":
        return Choice(_for_cpu(engine), "cpu", "it was asked for")
    on_gpu = "torch" if engine == "auto" else engine
    problem = _cpu_only(on_gpu) or _driver_problem() or _build_problem()
    if device == "cuda":
        if problem:
            raise DeviceError(
                f"device is cuda, but {problem}. Use --device cpu, or --device auto to take what is there."
            )
        return Choice(on_gpu, "cuda", "it was asked for")
    if problem:
        return Choice(_for_cpu(engine), "cpu", f"no CUDA: {problem}")
    return Choice(on_gpu, "cuda", "PyTorch and a GPU are there")


def usable() -> list[tuple[str, str]]:
    """List the engines that are installed, each with each device that it can use here."""
    found = [(engine, "cpu") for engine in ENGINES if _is_installed(engine)]
    if ("torch", "cpu") in found and not (_driver_problem() or _build_problem()):
        found.append(("torch", "cuda"))
    return found


def check(engine: str, device: str) -> None:
    """Raise `SettingError` where no engine or no device has this name, ``auto`` being one."""
    if device not in DEVICES:
        raise SettingError(f"device is {device!r}; expected auto, cpu or cuda.{did_you_mean(device, DEVICES)}")
    if engine != "auto":
        check_engine(engine)


def check_engine(name: str) -> None:
    """Raise `SettingError` where no engine has this name."""
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
    """Return the processor's name as Linux has it, elsewhere what Python knows."""
    import platform

    cpu_info = Path("/proc/cpuinfo")
    for line in cpu_info.read_text().splitlines() if cpu_info.exists() else []:
        label, _, name = line.partition(":")
        if label.strip() == "model name":
            return name.strip()
    return platform.processor() or platform.machine()


def _is_installed(engine: str) -> bool:
    if engine == "theano":
        from pipeline.engines.theano import environment

        return environment.is_ready()
    return all(importlib.util.find_spec(library) for library in ENGINES[engine].libraries)


def _for_cpu(engine: str) -> str:
    return "numba" if engine == "auto" else engine


def _cpu_only(engine: str) -> str | None:
    traits = ENGINES[engine]
    return None if "cuda" in traits.devices else f"{traits.without_cuda}; --engine torch uses CUDA"


def _driver_problem() -> str | None:
    """Say what keeps this machine from using CUDA.

    NVIDIA's management library is asked, not CUDA itself: a process that has initialised CUDA cannot
    hand it to the worker processes that Luigi forks.
    """
    first = (
        os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    )  # none that follows a wrong one counts
    has_name = first.startswith(("GPU-", "MIG-"))
    if not (has_name or first.isdecimal()):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    import ctypes

    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "there is no NVIDIA driver (no libnvidia-ml.so.1)"
    if status := library.nvmlInit_v2():
        return f"the NVIDIA driver does not answer (NVML error {status})"
    count = ctypes.c_uint()
    status = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    library.nvmlShutdown()
    if status or not count.value:
        return "the NVIDIA driver finds no GPU"
    if not has_name and int(first) >= count.value:
        return f"CUDA_VISIBLE_DEVICES hides every GPU: it begins with {first}, and there are {count.value}, from 0"
    return None


def _build_problem() -> str | None:
    """Say what keeps PyTorch, as it is installed, from using CUDA."""
    version = _pytorch_version()
    if version is None:
        return NO_PYTORCH
    return f"PyTorch {version} was built without CUDA" if version.endswith("+cpu") else None


def _pytorch_version() -> str | None:
    from importlib import metadata

    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("torch")
    return None
