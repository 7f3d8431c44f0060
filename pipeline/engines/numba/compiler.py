"""Compile the kernels with Numba."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.extending import register_jitable

from pipeline.engines.numba import cache

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Function = Callable[Arguments, Result]

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}

# Python never calls a kernel, and a wrapper for that call takes a third of the time to compile.
_WITHOUT_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_LOCATOR = f"{cache.__name__}.{cache.KernelLocator.__name__}"


def kernel(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Compile a function as a part of each `entry_point` that calls it.

    Floating-point operations keep their order (no ``fastmath``): equal inputs give equal sums at each position of an
    image, and only equal sums are tied maxima.
    """
    return cast(Function[Arguments, Result], numba.njit(**_OPTIONS, **_WITHOUT_WRAPPERS)(function))


def inlined(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Compile a function into the body of each caller, so that vectors cross the call in registers."""
    compiled = numba.njit(**_OPTIONS, **_WITHOUT_WRAPPERS, forceinline=True)(function)
    return cast(Function[Arguments, Result], compiled)


def for_python_too(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Allow kernels to call a function that Python calls uncompiled."""
    return cast(Function[Arguments, Result], register_jitable(function))


def entry_point(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Mark a function that Python calls after `compile_for`.

    It releases Python's global lock, so that threads compute at the same time.
    """
    return cast(Function[Arguments, Result], numba.njit(**_OPTIONS)(function))


def compile_for(function: Callable[..., Any], *arguments: object) -> None:
    """Compile an entry point for the types of the arguments, once per machine; `cache` keeps the result."""
    dispatcher = cast(Any, function)
    types = tuple(numba.typeof(argument) for argument in arguments)
    if types in dispatcher.overloads:
        return
    with cache.opened() as folder:
        if folder:
            with _settings(CACHE_DIR=str(folder), CACHE_LOCATOR_CLASSES=_LOCATOR):
                dispatcher.enable_caching()
        try:
            # Level 2 of LLVM's optimisation takes three quarters of level 3's time, and the kernels are as fast
            # (bench/kernels.py).
            with _settings(OPT=type(numba.config.OPT)(2)):
                dispatcher.compile(types)
        except OSError:
            # The disk is full. This process has the compiled function; the next process compiles it again.
            if types not in dispatcher.overloads:
                raise


def is_compiled(function: Callable[..., Any]) -> bool:
    """Check whether this process has compiled an entry point, or another process has into the cache."""
    dispatcher = cast(Any, function)
    module = function.__module__.rpartition(".")[2]
    return bool(dispatcher.overloads) or cache.holds(f"{module}.{function.__name__}")


@contextmanager
def _settings(**values: Any) -> Iterator[None]:
    """Change settings of Numba for a moment; all users of Numba in the process share them."""
    before = {name: getattr(numba.config, name) for name in values}
    vars(numba.config).update(values)
    try:
        yield
    finally:
        vars(numba.config).update(before)
