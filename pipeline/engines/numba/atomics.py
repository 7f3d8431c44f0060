"""Numbers that several threads change and read without a lock."""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from pipeline.engines.numba.vectors import address

_ORDER = "seq_cst"
"""All that a thread wrote before one of these operations, a thread that sees the operation sees too."""


@intrinsic  # type: ignore[untyped-decorator]
def fetch_add(typing_context: Any, array: Any, index: Any, number: Any) -> Any:
    """Add a number to ``array[index]`` and return what was there before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", address(context, builder, signature, arguments), arguments[2], _ORDER)

    return types.int64(array, types.intp, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def fetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Return ``array[index]`` as it is in memory now."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(address(context, builder, signature, arguments), _ORDER, 8)

    return types.int64(array, types.intp), generate
