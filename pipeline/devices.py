"""Which device an engine computes on, found without importing the engine."""

from __future__ import annotations

import ctypes
import os
from importlib import metadata

from pipeline.errors import DeviceError, SettingError, did_you_mean

DEVICES = ("auto", "cpu", "cuda")
"""What the setting ``device`` takes."""

ENGINES: dict[str, tuple[str, ...]] = {
    "torch": ("cpu", "cuda"),
}
"""Every engine by the name that ``--engine`` takes, with the devices that it can use."""


def resolve(requested: str, engine: str) -> tuple[str, str]:
    """Turn the setting ``device`` into the device that an engine will use.

    Returns
    -------
    device : {"cpu", "cuda"}
    reason : str
        Why it is this one.

    Raises
    ------
    SettingError
        No engine or device has this name.
    DeviceError
        CUDA was asked for and cannot be used; the message says what is missing.
    """
    if requested not in DEVICES:
        raise SettingError(f"device is {requested!r}; expected auto, cpu or cuda.{did_you_mean(requested, DEVICES)}")
    check_engine(engine)
    if requested == "cpu":
        return "cpu", "it was asked for"
    problem = _engine_problem(engine) or _driver_problem()
    if requested == "cuda":
        if problem:
            raise DeviceError(
                f"device is cuda, but {problem}. Use --device cpu, or --device auto to take what is there."
            )
        return "cuda", "it was asked for"
    return ("cpu", f"no CUDA: {problem}") if problem else ("cuda", "PyTorch and a GPU are there")


def check_engine(name: str) -> None:
    """Raise `SettingError` where no engine has this name."""
    if name not in ENGINES:
        raise SettingError(f"engine is {name!r}; expected {' or '.join(ENGINES)}.{did_you_mean(name, ENGINES)}")


def _engine_problem(engine: str) -> str | None:
    """Say what keeps an engine, as it is installed, from using CUDA."""
    if "cuda" not in ENGINES[engine]:
        return f"the {engine} engine computes on the CPU only (--engine torch uses CUDA)"
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "PyTorch is not installed (`pip install torch`)"
    return f"PyTorch {version} was built without CUDA" if version.endswith("+cpu") else None


def _driver_problem() -> str | None:
    """Say what keeps this machine from using CUDA.

    NVIDIA's management library is asked, not CUDA itself: a process that has initialised CUDA cannot
    hand it to the worker processes that Luigi forks.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "there is no NVIDIA driver on this machine (libnvidia-ml.so.1 is not found)"
    if status := library.nvmlInit_v2():
        return f"the NVIDIA driver does not answer (NVML error {status})"
    count = ctypes.c_uint()
    status = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    library.nvmlShutdown()
    return None if status == 0 and count.value else "the NVIDIA driver finds no GPU"
