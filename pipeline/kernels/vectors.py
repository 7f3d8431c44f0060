"""Vectors of float32 that stay in the processor's registers, as a type of Numba's.

Plain loops leave it to the compiler's guess which values stay in registers and which loop becomes vector
instructions; a kernel that is written with these few operations gets the instructions that it names.
A vector may be wider than a register: LLVM splits ``Vector(32)`` into two registers of AVX-512, four of
AVX2 or eight of NEON, so the kernels run on any processor.

No operation checks its index.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 16
"""Widths are multiples of this: the 16 float32 of one AVX-512 register."""

WIDEST = 64 if binding.get_host_cpu_features().get("avx512f") else 16
"""Width of the widest vector of which four fit in the registers with room to spare."""


class Vector(types.Type):
    """Numba's type of ``width`` float32 in registers."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Vector({width})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    """How a `Vector` looks to LLVM: as a vector."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, _llvm_type(vector))


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def load(typing_context: Any, array: Any, index: Any, width: Any) -> Any:
    """Return ``array[index : index + width]``; ``width`` is a constant."""
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature, arguments)
        return builder.load(builder.bitcast(place, _llvm_type(vector).as_pointer()), align=4)

    return vector(array, types.intp, width), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Set ``array[index : index + width] = vector``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature, arguments)
        builder.store(arguments[2], builder.bitcast(place, _llvm_type(vector).as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_add(typing_context: Any, array: Any, index: Any, vector: Any, addend: Any) -> Any:
    """Return ``array[index] * vector + addend``, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        llvm_type = _llvm_type(vector)
        number = builder.load(_place(context, builder, signature, arguments))
        first_lane = builder.insert_element(llvm_type(ir.Undefined), number, ir.IntType(32)(0))
        every_lane = ir.VectorType(ir.IntType(32), vector.width)([0] * vector.width)
        numbers = builder.shuffle_vector(first_lane, llvm_type(ir.Undefined), every_lane)
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(llvm_type, [llvm_type] * 3), f"llvm.fma.v{vector.width}f32"
        )
        return builder.call(fused, [numbers, arguments[2], arguments[3]])

    return vector(array, types.intp, vector, vector), generate


def _llvm_type(vector: Vector) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), vector.width)


def _place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Address of the element of an intrinsic's first argument that its second one gives."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])
