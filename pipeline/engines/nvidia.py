"""Ask NVIDIA's management library, NVML, which GPUs this machine has and which CUDA its driver runs.

It is not CUDA: a process that has initialised CUDA cannot hand it to the worker processes that Luigi forks. This module
needs the standard library alone, so it runs before anything is installed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.errors import DeviceError

LIBRARY = "libnvidia-ml.so.1"

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that names the GPUs that CUDA sees; CUDA reads it when a process uses CUDA for the first time."""

PROHIBITED = 2
"""``NVML_COMPUTEMODE_PROHIBITED`` in ``nvml.h``."""

TEXT_BYTES = 96
"""``NVML_DEVICE_UUID_V2_BUFFER_SIZE`` and ``NVML_DEVICE_NAME_V2_BUFFER_SIZE`` in ``nvml.h``."""


@dataclass(frozen=True)
class Card:
    """A GPU, or a part of a divided one (MIG), whose capability is not asked.

    ``uuid`` names it in ``CUDA_VISIBLE_DEVICES``. ``capability`` is its compute capability: (9, 0) for an H100.
    ``fault`` is the reason why nothing can compute on it, if there is one.
    """

    uuid: str
    name: str
    capability: tuple[int, int] | None = None
    fault: str = ""


@dataclass(frozen=True)
class Driver:
    """The newest CUDA that the driver supports, (13, 0) for 13.0, and every GPU in the order of ``nvidia-smi``."""

    cuda: tuple[int, int]
    cards: tuple[Card, ...]


@functools.cache  # without a daemon that keeps the driver awake, the first answer takes seconds
def driver() -> Driver:
    """Return what the driver says; raise `DeviceError`, with the reason alone, where it offers no GPU."""
    import ctypes

    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise DeviceError(f"there is no NVIDIA driver (no {LIBRARY})") from None
    _ask(library.nvmlInit_v2)
    try:
        count = ctypes.c_uint()
        _ask(library.nvmlDeviceGetCount_v2, ctypes.byref(count))
        if not count.value:
            raise DeviceError("the NVIDIA driver finds no GPU")
        cards = tuple(_card(library, index) for index in range(count.value))
        return Driver(_cuda_version(library), cards)
    finally:
        library.nvmlShutdown()


@functools.cache  # CUDA, too, reads the variable once: what it names stays, also where `lease` sets it later
def visible() -> tuple[Card, ...]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` names, in its order; raise `DeviceError` where there is none.

    CUDA ignores every entry behind an invalid one, and sees nothing where one is named twice. It counts the GPUs as
    ``nvidia-smi`` does (CUDA's programming guide, "CUDA Environment Variables").
    """
    cards = driver().cards
    variable = os.environ.get(VISIBLE)
    if variable is None:
        return cards
    found: list[Card] = []
    for entry in variable.split(","):
        card = _named(entry.strip(), cards)
        if card is None:
            break
        if card in found:
            found.clear()
            break
        found.append(card)
    if not found:
        numbers = ", ".join(map(str, range(len(cards))))
        raise DeviceError(f"{VISIBLE} hides every GPU: it is {variable!r}; expected numbers out of {numbers}, or UUIDs")
    return tuple(found)


def _named(entry: str, cards: tuple[Card, ...]) -> Card | None:
    """Return the GPU with a number, or with a UUID that begins so; None where there is none, or more than one."""
    if entry.isascii() and entry.isdecimal():
        return cards[int(entry)] if int(entry) < len(cards) else None
    if entry.startswith("MIG-"):
        return Card(entry, "part of a GPU")
    matching = [card for card in cards if entry.startswith("GPU-") and card.uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else None


def _cuda_version(library: Any) -> tuple[int, int]:
    import ctypes

    version = ctypes.c_int()
    try:
        _ask(library.nvmlSystemGetCudaDriverVersion_v2, ctypes.byref(version))
    except AttributeError:
        raise DeviceError("the NVIDIA driver is older than CUDA 10; install a newer one") from None
    return version.value // 1000, version.value % 1000 // 10


def _card(library: Any, index: int) -> Card:
    import ctypes

    handle, major, minor, mode = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int(), ctypes.c_uint()
    try:
        _ask(library.nvmlDeviceGetHandleByIndex_v2, index, ctypes.byref(handle))
        uuid, name = _text(library.nvmlDeviceGetUUID, handle), _text(library.nvmlDeviceGetName, handle)
        _ask(library.nvmlDeviceGetCudaComputeCapability, handle, ctypes.byref(major), ctypes.byref(minor))
    except DeviceError as error:  # a broken GPU, or one of others, hides none of the rest
        return Card(str(index), f"GPU {index}", fault=str(error))
    # A divided GPU has no mode of its own.
    is_prohibited = not library.nvmlDeviceGetComputeMode(handle, ctypes.byref(mode)) and mode.value == PROHIBITED
    fault = f"its compute mode is Prohibited; `sudo nvidia-smi -i {index} -c DEFAULT` allows it"
    return Card(uuid, name, (major.value, minor.value), fault if is_prohibited else "")


def _text(function: Callable[..., int], handle: Any) -> str:
    import ctypes

    text = ctypes.create_string_buffer(TEXT_BYTES)
    _ask(function, handle, text, TEXT_BYTES)
    return text.value.decode(errors="replace")


def _ask(function: Callable[..., int], *arguments: Any) -> None:
    if status := function(*arguments):
        raise DeviceError(f"the NVIDIA driver does not answer ({function.__name__}: NVML error {status})")
