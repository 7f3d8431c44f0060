"""How Numba compiles the kernels, and where it keeps what it compiled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from llvmlite import binding
from numba.extending import register_jitable

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Function = Callable[Arguments, Result]

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}

# Python never calls what is only a part: what it would call it through takes a third of the time to compile.
_WITHOUT_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Compile a function as a part of whichever `entry_point` calls it.

    Floating-point operations keep the order in which they are written (no ``fastmath``): equal inputs give
    equal sums at each place of an image, which ties of the maximum depend on.
    """
    return cast(Function[Arguments, Result], numba.njit(**_OPTIONS, **_WITHOUT_WRAPPERS)(function))


def inlined(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Compile a function into the body of each caller, so that vectors cross the call in registers."""
    compiled = numba.njit(**_OPTIONS, **_WITHOUT_WRAPPERS, forceinline=True)(function)
    return cast(Function[Arguments, Result], compiled)


def for_python_too(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Let kernels call a function that Python calls as it stands."""
    return cast(Function[Arguments, Result], register_jitable(function))


def entry_point(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Mark a function that Python calls, after `compile_for`.

    It runs without Python's global lock, so that threads compute side by side.
    """
    with _settings(CACHE_DIR=str(cache_folder())):
        compiled = numba.njit(**_OPTIONS, cache=True)(function)
    return cast(Function[Arguments, Result], compiled)


def compile_for(function: Callable[..., Any], *arguments: object) -> None:
    """Compile an entry point for arguments like these, once per machine: the result is kept in `cache_folder`."""
    types = tuple(numba.typeof(argument) for argument in arguments)
    # Level 2 of LLVM's optimisation takes three quarters of level 3's time, for kernels that are no slower.
    with _settings(OPT=type(numba.config.OPT)(2)):
        cast(Any, function).compile(types)


def is_compiled(function: Callable[..., Any]) -> bool:
    """Whether an entry point was compiled before, in this process or, into the cache folder, by another."""
    dispatcher = cast(Any, function)
    index = Path(dispatcher.stats.cache_path, dispatcher._cache._cache_file._index_name)
    return bool(dispatcher.signatures) or index.exists()


def cache_folder() -> Path:
    """Return the folder of the compiled kernels, one for each state of their sources and each processor.

    It lies in ``NUMBA_CACHE_DIR`` where that is set, in ``.cache/numba`` beside the package otherwise. Numba
    itself compares only the file of an entry point with what it kept, not the files of the kernels in it, and
    says only after loading whether what it kept is for this processor.
    """
    package = Path(__file__).parent
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(chosen) if chosen else package.parents[1] / ".cache" / "numba"
    digest = hashlib.sha256(f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}".encode())
    for source in sorted(package.glob("*.py")):
        digest.update(source.read_bytes())
    return root / f"kernels-{digest.hexdigest()[:16]}"


@contextmanager
def _settings(**values: Any) -> Iterator[None]:
    """Change settings of Numba's, which belong to all of its users in the process, for a moment."""
    before = {name: getattr(numba.config, name) for name in values}
    vars(numba.config).update(values)
    try:
        yield
    finally:
        vars(numba.config).update(before)
