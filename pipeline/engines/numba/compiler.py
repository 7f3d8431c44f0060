"""How Numba compiles the kernels."""

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

# Python never calls what is only a part: what it would call it through takes a third of the time to compile.
_WITHOUT_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_LOCATOR = f"{cache.__name__}.{cache.KernelLocator.__name__}"


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
    return cast(Function[Arguments, Result], numba.njit(**_OPTIONS)(function))


def compile_for(function: Callable[..., Any], *arguments: object) -> None:
    """Compile an entry point for arguments like these, once per machine: `cache` keeps the result."""
    dispatcher = cast(Any, function)
    types = tuple(numba.typeof(argument) for argument in arguments)
    if types in dispatcher.overloads:
        return
    with cache.opened() as folder:
        if folder:
            with _settings(CACHE_DIR=str(folder), CACHE_LOCATOR_CLASSES=_LOCATOR):
                dispatcher.enable_caching()
        try:
            # Level 2 of LLVM's optimisation takes three quarters of level 3's time, for kernels that are no slower.
            with _settings(OPT=type(numba.config.OPT)(2)):
                dispatcher.compile(types)
        except OSError:
            # The disk is full. What was compiled is there for this process; the next one compiles it again.
            if types not in dispatcher.overloads:
                raise


def is_compiled(function: Callable[..., Any]) -> bool:
    """Whether an entry point was compiled before, in this process or, into the cache's folder, by another."""
    dispatcher = cast(Any, function)
    module = function.__module__.rpartition(".")[2]
    return bool(dispatcher.overloads) or cache.holds(f"{module}.{function.__name__}")


@contextmanager
def _settings(**values: Any) -> Iterator[None]:
    """Change settings of Numba's, which belong to all of its users in the process, for a moment."""
    before = {name: getattr(numba.config, name) for name in values}
    vars(numba.config).update(values)
    try:
        yield
    finally:
        vars(numba.config).update(before)
