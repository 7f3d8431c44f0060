"""Machines made up for tests: NVIDIA's management library with given answers, and an environment's libraries.

The library writes a line into the file that ``NVML_LOG`` names whenever a process begins to ask.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

PATH, COMPILER = os.environ["PATH"], shutil.which("cc")

NVML = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static const char *uuids[] = {%(uuids)s}, *names[] = {%(names)s};
static const int majors[] = {%(majors)s}, minors[] = {%(minors)s}, modes[] = {%(modes)s}, states[] = {%(states)s};

static int at(void *card) { return (int)(intptr_t)card - 1; }

int nvmlInit_v2(void) {
    FILE *log = getenv("NVML_LOG") ? fopen(getenv("NVML_LOG"), "a") : NULL;
    if (log) {
        fputs("begun\\n", log);
        fclose(log);
    }
    return %(init)d;
}
int nvmlShutdown(void) { return 0; }
#if %(cuda)d
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = %(cuda)d; return 0; }
#endif
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = %(count)d; return %(status)d; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **card) {
    *card = (void *)(intptr_t)(index + 1);
    return states[index];
}
int nvmlDeviceGetUUID(void *card, char *text, unsigned int size) {
    snprintf(text, size, "%%s", uuids[at(card)]);
    return 0;
}
int nvmlDeviceGetName(void *card, char *text, unsigned int size) {
    snprintf(text, size, "%%s", names[at(card)]);
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *card, int *major, int *minor) {
    *major = majors[at(card)];
    *minor = minors[at(card)];
    return 0;
}
int nvmlDeviceGetComputeMode(void *card, unsigned int *mode) { *mode = modes[at(card)]; return 0; }
"""

DEFAULT, PROHIBITED, EXCLUSIVE_PROCESS = 0, 2, 3
"""Compute modes, of ``nvmlComputeMode_t``."""


@dataclass(frozen=True)
class Card:
    """What the library answers for a GPU; ``state`` is the error with which it answers instead."""

    uuid: str
    name: str = "NVIDIA H100"
    capability: tuple[int, int] = (9, 0)
    mode: int = DEFAULT
    state: int = 0


CARDS = tuple(Card(f"GPU-{number}{number}32f937-d72c-4106-c12f-20bd9faed9f{number}") for number in range(4))


def write_driver(folder: Path, *cards: Card, cuda: int = 13000, init: int = 0, status: int = 0) -> None:
    """Compile ``libnvidia-ml.so.1`` in a folder; skip the test where there is no compiler. ``cuda`` 0 is no answer."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    listed = cards or (Card("unused"),)  # C has no empty arrays
    values = {
        "uuids": ", ".join(f'"{card.uuid}"' for card in listed),
        "names": ", ".join(f'"{card.name}"' for card in listed),
        "majors": ", ".join(str(card.capability[0]) for card in listed),
        "minors": ", ".join(str(card.capability[1]) for card in listed),
        "modes": ", ".join(str(card.mode) for card in listed),
        "states": ", ".join(str(card.state) for card in listed),
        "count": len(cards),
    }
    source = NVML % (values | {"cuda": cuda, "init": init, "status": status})
    (folder / "libnvidia-ml.so.1").write_bytes(_compiled(source))


@functools.cache
def _compiled(source: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path, library = Path(folder, "nvml.c"), Path(folder, "nvml.so")
        path.write_text(source)
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, path], env={"PATH": PATH}, check=True)
        return library.read_bytes()


def write_pytorch(folder: Path, version: str = "2.13.0", cuda: str | None = "13.0", hip: str | None = None) -> None:
    """Write a PyTorch that tells what it was built for, as PyTorch's builds do, and that fails if it is imported."""
    write_library(folder, "torch")
    (folder / "torch/version.py").write_text(
        "from typing import Optional\n\n"
        f"__version__ = {version!r}\ndebug = False\ncuda: Optional[str] = {cuda!r}\nhip: Optional[str] = {hip!r}\n"
    )


def write_library(folder: Path, name: str) -> None:
    """Write a library that fails if it is imported."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(f"raise AssertionError('{name} was imported')\n")


def write_program(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
