"""Compile the kernels with Numba."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import register_jitable

from pipeline.engines.collector import collector_paused
from pipeline.engines.numba import cache

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Function = Callable[Arguments, Result]


class KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of a kernel, which becomes machine code as a part of an entry point alone.

    Numba would optimize and translate each kernel by itself and again in each of its callers: a third of the time to
    compile (bench/compiling.py). The methods are those of Numba 0.68 and not part of its documented interface.
    """

    def _optimize_final_module(self) -> None:
        """Inline and tidy up, which leaves the callers less work."""
        passes, builder = self._codegen._module_pass_manager(opt=0)
        passes.run(self._final_module, builder)

    def _finalize_final_module(self) -> None:
        """Leave out the machine code."""
        self._finalized = True

    @property
    def codegen(self) -> KernelLibrary:
        """The object whose `set_env` Numba calls."""
        return self

    def set_env(self, name: str, environment: object) -> None:
        """Do nothing: there is no machine code to store Python's objects in."""


class KernelCompiler(Compiler):  # type: ignore[misc]
    """Numba's compiler with a `KernelLibrary` for its result."""

    def compile_extra(self, function: Callable[..., Any]) -> Any:
        self.state.library = KernelLibrary(self.state.targetctx.codegen(), function.__qualname__)
        return super().compile_extra(function)


_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}

# Python never calls a kernel, and a wrapper for that call takes a third of the time to compile.
_KERNEL_OPTIONS: dict[str, Any] = _OPTIONS | {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": KernelCompiler,
}

_LOCATOR = f"{cache.__name__}.{cache.KernelLocator.__name__}"


def kernel(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Compile a function as a part of each `entry_point` that calls it.

    Floating-point operations keep their order (no ``fastmath``): equal inputs give equal sums at each position of an
    image, and only equal sums are tied maxima.
    """
    return cast(Function[Arguments, Result], numba.njit(**_KERNEL_OPTIONS)(function))


def inlined(function: Function[Arguments, Result]) -> Function[Arguments, Result]:
    """Compile a function into the body of each caller, so that vectors cross the call in registers."""
    compiled = numba.njit(**_KERNEL_OPTIONS, forceinline=True)(function)
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
            with collector_paused():  # the collector takes a twelfth of the time to compile, and saves 60 MB
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
