"""Choose the engine and the device that compute, without importing an engine."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DeviceError, SettingError, did_you_mean

DEVICES = ("auto", "cpu", "cuda")
"""Values of the setting ``device``."""


@dataclass(frozen=True)
class Traits:
    """Facts about an engine."""

    libraries: tuple[str, ...] = ()  # distributions that it needs in this environment
    without_cuda: str = ""  # why it cannot use CUDA, if it cannot
    environment: str = ""  # module whose is_ready() checks the environment of its own, if it has one


ENGINES = {
    "numba": Traits(("numba", "llvmlite"), "the numba engine has kernels for the CPU only"),
    "torch": Traits(("torch",)),
    "theano": Traits(
        without_cuda="Theano reaches a GPU through pygpu alone, which is not on PyPI",
        environment="pipeline.engines.theano.environment",
    ),
}
"""Every engine by its name in the setting ``engine``; ``auto`` is torch on CUDA and numba on the CPU."""

NO_PYTORCH = "PyTorch is not installed; `make pipeline ENGINE=torch` installs it"


@dataclass(frozen=True)
class Choice:
    """An engine, a device, and the reason why it is this device."""

    engine: str
    device: str
    reason: str


def choose(engine: str, device: str) -> Choice:
    """Choose an engine and a device by the settings ``engine`` and ``device``, each of which may be ``auto``.

    Raise `SettingError` for an unknown engine or device, and for torch without PyTorch. Raise `DeviceError`, with the
    missing part, for cuda where it cannot be used.
    """
    check(engine, device)
    if engine == "torch" and _pytorch_version() is None:
        raise SettingError(
            f"engine is torch, but {NO_PYTORCH}, and so does `pip install -r requirements/torch.txt`. "
            "Or take another engine, for example --engine numba."
        )
    on_cpu = "numba" if engine == "auto" else engine
    on_cuda = "torch" if engine == "auto" else engine
    if device == "cpu":
        return Choice(on_cpu, "cpu", "it was asked for")
    problem = _cuda_problem(on_cuda)
    if device == "cuda":
        if problem:
            raise DeviceError(f"device is cuda, but {problem}. Use --device cpu, or --device auto.")
        return Choice(on_cuda, "cuda", "it was asked for")
    if problem:
        return Choice(on_cpu, "cpu", f"no CUDA: {problem}")
    return Choice(on_cuda, "cuda", "PyTorch and a GPU are there")


def usable() -> list[tuple[str, str]]:
    """List each installed engine with each device that it can use on this machine."""
    installed = [engine for engine in ENGINES if _is_installed(engine)]
    on_cuda = [engine for engine in installed if not _cuda_problem(engine)]
    return [(engine, "cpu") for engine in installed] + [(engine, "cuda") for engine in on_cuda]


def check(engine: str, device: str) -> None:
    """Raise `SettingError` if there is no engine or no device of this name; ``auto`` is allowed for both."""
    if device not in DEVICES:
        raise SettingError(f"device is {device!r}; expected auto, cpu or cuda.{did_you_mean(device, DEVICES)}")
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


def _is_installed(engine: str) -> bool:
    traits = ENGINES[engine]
    if traits.environment:
        return bool(importlib.import_module(traits.environment).is_ready())
    return all(importlib.util.find_spec(library) for library in traits.libraries)


def _cuda_problem(engine: str) -> str | None:
    """Return the reason why an engine cannot use CUDA on this machine, or None if it can."""
    if reason := ENGINES[engine].without_cuda:
        return f"{reason}; --engine torch uses CUDA"
    return _driver_problem() or _pytorch_problem()


def _driver_problem() -> str | None:
    """Return the reason why this machine's driver offers no GPU, or None if it does.

    The answer comes from NVIDIA's management library, not from CUDA: a process that has initialised CUDA cannot hand
    it to the worker processes that Luigi forks.
    """
    # CUDA ignores every entry behind an invalid one, so the first entry decides.
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
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


def _pytorch_problem() -> str | None:
    """Return the reason why the installed PyTorch cannot use CUDA, or None if it can."""
    version = _pytorch_version()
    if version is None:
        return NO_PYTORCH
    return f"PyTorch {version} was built without CUDA" if version.endswith("+cpu") else None


def _pytorch_version() -> str | None:
    from importlib import metadata

    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("torch")
    return None
