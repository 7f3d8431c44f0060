"""Build the environment of the Theano engine, with a Python and a C++ compiler found on the machine.

Theano cannot be installed on Python 3.12 and later, and it compiles its operations in C++. So it has an environment of
its own, with an older Python::

    python -m pipeline.engines.theano.setup

builds it, or returns at once if it is built. ``THEANO_PYTHON=/path/to/python3.11`` chooses the Python. This module
needs the standard library alone, so it runs before anything is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.engines.theano import environment
from pipeline.errors import EngineError
from pipeline.files.locks import Lock

COMPILER = "clang++" if sys.platform == "darwin" else "g++"
"""The only compiler that Theano supports on each system (``theano/configdefaults.py``, ``cxx``)."""

VERSIONS = ("3.11", "3.10", "3.9")
"""Versions of Python that work, the preferred one first: SciPy 1.13.1 needs 3.9, Theano fails on 3.12."""

HOW_TO_GET = """\
Install the missing part, then run make theano again:
    Debian 12       sudo apt install g++ python3.11-dev python3.11-venv
    Ubuntu 22.04    sudo apt install g++ python3.10-dev python3.10-venv
    Fedora          sudo dnf install gcc-c++ python3.11-devel
    macOS           xcode-select --install; brew install python@3.11
    any, Python     uv python install 3.11
                    PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.11
or name a Python that is elsewhere: make theano THEANO_PYTHON=/path/to/python3.11
or use another engine: --engine torch"""

PROBE = """
import importlib.util, json, os, sys, sysconfig
library = os.path.splitext(sysconfig.get_config_var("LDLIBRARY") or "")[0]
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "has_venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
    "headers": sysconfig.get_path("include"),
    "libraries": [sysconfig.get_config_var("LIBDIR") or "", os.path.dirname(sysconfig.get_path("stdlib"))],
    "library": library[3:],
}))
"""

EXTENSION = """
#include <Python.h>
extern "C" int error_is_set() { return PyErr_Occurred() != NULL; }
"""


@dataclass(frozen=True)
class Python:
    """A Python interpreter found on this machine."""

    path: str
    version: str  # for example 3.11
    has_venv: bool
    headers: str  # the folder of Python.h
    libraries: list[str]  # folders of the library with which Theano links its modules
    library: str  # the name of that library


class _UnsuitableError(Exception):
    """Theano does not run on an interpreter; the message is the reason."""


def build(log: Callable[[str], None] = print) -> Path:
    """Build the environment, unless it is built, and return the path of its Python.

    Of two processes at once the second waits for the first. The marker that makes the environment valid is written
    last, so a half-built environment is built again. `EngineError` says which part is missing or cannot be installed.
    """
    if environment.is_ready():
        return environment.interpreter()
    environment.CACHE.mkdir(parents=True, exist_ok=True)
    lock = Lock(environment.CACHE / "environment.lock")
    with lock.held(lambda owner: log(f"Waiting for {owner}, which is building {environment.ENVIRONMENT}.")):
        if not environment.is_ready():
            python = find_python(find_compiler())
            log(f"Building {environment.ENVIRONMENT} with {python.path} (Python {python.version}).")
            _install(python)
            environment.mark_ready(python.path)
            log(f"Theano, Lasagne and nolearn are installed in {environment.ENVIRONMENT}.")
    return environment.interpreter()


def find_compiler() -> str:
    """Return the path of the C++ compiler, or raise `EngineError` if there is none."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise EngineError(f"Theano needs a C++ compiler, but there is none: {COMPILER} is not on PATH.\n{HOW_TO_GET}")
    return compiler


def find_python(compiler: str) -> Python:
    """Return the first Python on this machine on which Theano runs, or raise `EngineError` with the reason for each.

    If ``THEANO_PYTHON`` is set, it is the only candidate. Otherwise the candidates are the running Python, those on
    PATH, pyenv's and uv's.
    """
    named = os.environ.get("THEANO_PYTHON")
    found = ""
    for path in [named] if named else _candidates():
        try:
            return _checked(path, compiler)
        except _UnsuitableError as reason:
            found += f"    {path}: {reason}\n"
    origin = "THEANO_PYTHON names no such Python" if named else "this machine has no such Python"
    raise EngineError(
        f"Theano needs Python 3.9, 3.10 or 3.11 with its C headers, but {origin}.\n"
        f"{'Found:' if found else 'There is no Python on PATH.'}\n{found}{HOW_TO_GET}"
    )


def _candidates() -> list[str]:
    """Return the path of each interpreter on this machine once, the preferred one first."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    paths = [Path(sys.executable)]
    for version in VERSIONS:
        paths += [folder / f"python{version}" for folder in folders]
        paths += sorted(pyenv.glob(f"*/bin/python{version}"), reverse=True)
        paths += sorted(uv.glob(f"*/bin/python{version}"), reverse=True)
    paths += [folder / name for name in ("python3", "python") for folder in folders]
    found: dict[Path, str] = {}
    for path in paths:
        if path.is_file() and os.access(path, os.X_OK):
            found.setdefault(path.resolve(), str(path))
    return list(found.values())


def _checked(path: str, compiler: str) -> Python:
    """Run an interpreter and return its description; raise `_UnsuitableError` if Theano does not run on it."""
    try:
        command = [path, "-I", "-c", PROBE]
        answer = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout  # noqa: S603 - of no input
        python = Python(path=path, **json.loads(answer))
    except (OSError, subprocess.SubprocessError, ValueError):
        raise _UnsuitableError("does not run") from None
    if python.version not in VERSIONS:
        raise _UnsuitableError(f"is Python {python.version}")
    if not python.has_venv:
        raise _UnsuitableError(f"cannot make environments (its package python{python.version}-venv is missing)")
    if not (Path(python.headers) / "Python.h").is_file():
        raise _UnsuitableError(f"has no C headers ({python.headers}/Python.h is missing)")
    _check_extension(python, compiler)
    return python


def _check_extension(python: Python, compiler: str) -> None:
    """Build and load an extension module as Theano does; raise `_UnsuitableError` if that fails."""
    on_linux = [*(f"-L{folder}" for folder in python.libraries), f"-l{python.library}"]
    link = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else on_linux
    variables = {**os.environ, "LD_RUN_PATH": os.pathsep.join(python.libraries)}
    with tempfile.TemporaryDirectory() as folder:
        source, module = f"{folder}/extension.cpp", f"{folder}/extension.so"
        Path(source).write_text(EXTENSION)
        for command in (
            [compiler, "-shared", "-fPIC", f"-I{python.headers}", "-o", module, source, *link],
            [python.path, "-I", "-c", "import ctypes, sys; ctypes.PyDLL(sys.argv[1]).error_is_set()", module],
        ):
            result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)  # noqa: S603 - of no input
            if result.returncode != 0:
                lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
                raise _UnsuitableError(f"cannot be extended in C++ ({lines[-1].strip()})")


def _install(python: Python) -> None:
    """Replace the environment and install the pinned libraries, each checked against its hash."""
    if not environment.REQUIREMENTS.is_file():
        raise EngineError(
            f"{environment.REQUIREMENTS} is missing; the Theano engine runs from a checkout of the project."
        )
    shutil.rmtree(environment.ENVIRONMENT, ignore_errors=True)
    _run([python.path, "-m", "venv", str(environment.ENVIRONMENT)])
    pip = [str(environment.interpreter()), "-m", "pip"]
    install = [*pip, "install", "--quiet", "--require-hashes", "--disable-pip-version-check"]
    # Without isolation the three old packages are built with the pinned setuptools, not with a newer one.
    entries = environment.REQUIREMENTS.read_text().replace("\\\n", " ").splitlines()
    setuptools = next(entry for entry in entries if entry.startswith("setuptools=="))
    _run([*install, "-r", "/dev/stdin"], text=setuptools)
    _run([*install, "--no-build-isolation", "--use-pep517", "-r", str(environment.REQUIREMENTS)])
    _run([*pip, "check"])


def _run(command: list[str], text: str = "") -> None:
    result = subprocess.run(  # noqa: S603 - of no input
        command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode != 0:
        log = environment.CACHE / "installation.log"
        log.write_text(result.stdout)
        lines = result.stdout.strip().splitlines() or [""]
        raise EngineError(
            f"the Theano environment cannot be built: {' '.join(command[1:4])} ended with exit status "
            f"{result.returncode} ({lines[-1].strip()}). Its whole output is in {log}. "
            "Check the network and pip's settings, then run make theano again."
        )


def main() -> None:
    """Build the environment, and print where it is or why it cannot be built."""
    try:
        sys.stdout.write(f"The Theano engine is ready: {build()}\n")
    except EngineError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
