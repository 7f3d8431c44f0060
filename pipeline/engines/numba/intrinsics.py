"""Operations that Numba lacks: vectors in registers, access without checks of the index, atomic counters.

In a plain loop the compiler guesses which values stay in registers and which loops become vector instructions. A
kernel written with these operations gets the instructions that it names. A vector may be wider than a register: LLVM
splits ``Vector(32)`` into two registers of AVX-512, four of AVX2 or eight of NEON, so the kernels run on any processor.
They are fast on processors with a fused multiply-add, which x86 has had since 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 16
"""The 16 float32 of one AVX-512 register; widths are multiples of it."""

HAS_AVX512 = bool(binding.get_host_cpu_features().get("avx512f"))
"""Whether there are 32 registers of 16 float32; the registers of other processors hold at most half as many."""

_MEMORY_ORDER = "seq_cst"
"""A thread that sees an atomic operation sees all that was written before it, too."""

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_intrinsic = cast(_Decorator, intrinsic)
_intrinsic_of_constants = cast(_Decorator, intrinsic(prefer_literal=True))


class Vector(types.Type):
    """Numba's type for ``width`` float32 in registers."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Vector({width})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    """A `Vector` is a vector of LLVM's."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, _llvm_type(vector))


@_intrinsic
def load_scalar(typing_context: Any, array: Any, index: Any) -> Any:
    """Return ``array[index]`` without Numba's check for a negative index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments))

    return array.dtype(array, types.intp), generate


@_intrinsic
def store_scalar(typing_context: Any, array: Any, index: Any, number: Any) -> Any:
    """Set ``array[index] = number`` without Numba's check for a negative index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, signature, arguments))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@_intrinsic_of_constants
def zeros(typing_context: Any, width: Any) -> Any:
    """Return a vector of zeros; ``width`` is a constant."""
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _llvm_type(vector)(None)

    return vector(width), generate


@_intrinsic_of_constants
def load(typing_context: Any, array: Any, index: Any, width: Any) -> Any:
    """Return ``array[index : index + width]``; ``width`` is a constant."""
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _address(context, builder, signature, arguments)
        return _read(builder, pointer, _llvm_type(vector))

    return vector(array, types.intp, width), generate


@_intrinsic
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Set ``array[index : index + width] = vector``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _address(context, builder, signature, arguments)
        _write(builder, pointer, arguments[2])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_intrinsic
def add(typing_context: Any, one: Any, other: Any) -> Any:
    """Return the sum of two vectors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(arguments[0], arguments[1])

    return one(one, other), generate


@_intrinsic
def multiply_add(typing_context: Any, array: Any, index: Any, vector: Any, addend: Any) -> Any:
    """Return ``array[index] * vector + addend``, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.load(_address(context, builder, signature, arguments))
        return _fused(builder, _in_every_lane(builder, number, vector.width), arguments[2], arguments[3])

    return vector(array, types.intp, vector, vector), generate


@_intrinsic
def maximum_of_four(typing_context: Any, four: Any) -> Any:
    """Return the maximum of four vectors in each lane, nan if one of them is nan."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, two, three, four = cgutils.unpack_tuple(builder, arguments[0])
        maxima = _maximum(builder, _maximum(builder, one, two), _maximum(builder, three, four))
        # If one value is nan, an ordered comparison takes the second, which may be the other one.
        has_nan = builder.or_(builder.fcmp_unordered("uno", one, two), builder.fcmp_unordered("uno", three, four))
        nans = maxima.type([math.nan] * maxima.type.count)
        return builder.select(has_nan, nans, maxima)

    return four.dtype(four), generate


@_intrinsic
def store_equality_mask(typing_context: Any, array: Any, index: Any, vector: Any, four: Any) -> Any:
    """Set bytes ``array[index : index + width]`` to masks: a bit for each of four vectors that equals ``vector``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        llvm_bytes = ir.VectorType(ir.IntType(8), vector.width)
        found = llvm_bytes(None)
        for position, one in enumerate(cgutils.unpack_tuple(builder, arguments[3])):
            bits = llvm_bytes([1 << position] * vector.width)
            is_equal = builder.fcmp_ordered("==", one, arguments[2])
            found = builder.or_(found, builder.select(is_equal, bits, llvm_bytes(None)))
        _write(builder, _address(context, builder, signature, arguments), found)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, four), generate


@_intrinsic
def rectified(typing_context: Any, vector: Any) -> Any:
    """Return max(x, 0) in each lane; nan stays nan."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = _llvm_type(vector)(None)
        return builder.select(builder.fcmp_ordered("<", arguments[0], zeros), zeros, arguments[0])

    return vector(vector), generate


@_intrinsic
def rectifier_slopes(typing_context: Any, vector: Any) -> Any:
    """Return the slope of (x + abs(x)) / 2 in each lane: 1 above 0, one half at 0, 0 below."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros, halves, ones = (_llvm_type(vector)([value] * vector.width) for value in (0.0, 0.5, 1.0))
        at_zero = builder.select(builder.fcmp_ordered("==", arguments[0], zeros), halves, zeros)
        return builder.select(builder.fcmp_ordered(">", arguments[0], zeros), ones, at_zero)

    return vector(vector), generate


@_intrinsic
def where_bit_is_set(typing_context: Any, array: Any, index: Any, bit: Any, vector: Any) -> Any:
    """Return ``vector``, with 0 in the lanes whose byte in ``array[index : index + width]`` lacks the bit."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        llvm_bytes = ir.VectorType(ir.IntType(8), vector.width)
        found = _read(builder, _address(context, builder, signature, arguments), llvm_bytes)
        wanted = _in_every_lane(builder, builder.trunc(arguments[2], ir.IntType(8)), vector.width)
        is_set = builder.icmp_unsigned("!=", builder.and_(found, wanted), llvm_bytes(None))
        return builder.select(is_set, arguments[3], _llvm_type(vector)(None))

    return vector(array, types.intp, types.intp, vector), generate


@_intrinsic
def shifted(typing_context: Any, indices: Any, distance: Any) -> Any:
    """Return a tuple of indices, each larger by ``distance``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums = [builder.add(index, arguments[1]) for index in cgutils.unpack_tuple(builder, arguments[0])]
        return context.make_tuple(builder, signature.return_type, sums)

    return indices(indices, types.intp), generate


@_intrinsic
def repeated(typing_context: Any, vector: Any, indices: Any) -> Any:
    """Return a tuple that holds the same vector for each of the indices."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, [arguments[0]] * len(indices))

    return types.containers.UniTuple(vector, len(indices))(vector, indices), generate


@_intrinsic_of_constants
def load_each(typing_context: Any, array: Any, indices: Any, width: Any) -> Any:
    """Return a tuple: ``array[index : index + width]`` for each of the indices; ``width`` is a constant."""
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = []
        for index in cgutils.unpack_tuple(builder, arguments[1]):
            pointer = _address(context, builder, signature, [arguments[0], index])
            vectors.append(_read(builder, pointer, _llvm_type(vector)))
        return context.make_tuple(builder, signature.return_type, vectors)

    return types.containers.UniTuple(vector, len(indices))(array, indices, width), generate


@_intrinsic
def store_each(typing_context: Any, array: Any, indices: Any, vectors: Any) -> Any:
    """Set ``array[index : index + width] = vector`` for each pair of the indices and vectors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for index, value in _pairs(builder, arguments[1], arguments[2]):
            pointer = _address(context, builder, signature, [arguments[0], index])
            _write(builder, pointer, value)
        return context.get_dummy_value()

    return types.void(array, indices, vectors), generate


@_intrinsic
def multiply_add_scalars(typing_context: Any, array: Any, indices: Any, vector: Any, addends: Any) -> Any:
    """Return a tuple: ``array[index] * vector + addend``, rounded once, for each pair of the indices and addends."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums = []
        for index, addend in _pairs(builder, arguments[1], arguments[3]):
            number = builder.load(_address(context, builder, signature, [arguments[0], index]))
            numbers = _in_every_lane(builder, number, vector.width)
            sums.append(_fused(builder, numbers, arguments[2], addend))
        return context.make_tuple(builder, signature.return_type, sums)

    return addends(array, indices, vector, addends), generate


@_intrinsic
def multiply_add_vectors(typing_context: Any, array: Any, index: Any, vectors: Any, addends: Any) -> Any:
    """Return a tuple: ``array[index] * vector + addend``, rounded once, for each pair of the vectors and addends."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.load(_address(context, builder, signature, arguments))
        numbers = _in_every_lane(builder, number, vectors.dtype.width)
        pairs = _pairs(builder, arguments[2], arguments[3])
        sums = [_fused(builder, numbers, value, addend) for value, addend in pairs]
        return context.make_tuple(builder, signature.return_type, sums)

    return addends(array, types.intp, vectors, addends), generate


@_intrinsic
def atomic_add(typing_context: Any, array: Any, index: Any, number: Any) -> Any:
    """Add a number to ``array[index]``, which other threads change too, and return the value before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _address(context, builder, signature, arguments), arguments[2], _MEMORY_ORDER)

    return types.int64(array, types.intp, types.int64), generate


@_intrinsic
def atomic_load(typing_context: Any, array: Any, index: Any) -> Any:
    """Return ``array[index]``, which other threads change."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_address(context, builder, signature, arguments), _MEMORY_ORDER, 8)

    return types.int64(array, types.intp), generate


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return the address of the element of an intrinsic's first argument whose index is the second argument."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


def _read(builder: Any, pointer: Any, vector: ir.VectorType) -> Any:
    """Load a vector from an address that is aligned to one lane."""
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=_bytes_of_lane(vector))


def _write(builder: Any, pointer: Any, vector: Any) -> None:
    """Store a vector at an address that is aligned to one lane."""
    builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer()), align=_bytes_of_lane(vector.type))


def _bytes_of_lane(vector: ir.VectorType) -> int:
    return 4 if vector.element == ir.FloatType() else 1


def _in_every_lane(builder: Any, number: Any, width: int) -> Any:
    """Return a vector whose ``width`` lanes all hold ``number``."""
    vector = ir.VectorType(number.type, width)
    first_lane = builder.insert_element(vector(ir.Undefined), number, ir.IntType(32)(0))
    every_lane = ir.VectorType(ir.IntType(32), width)(None)
    return builder.shuffle_vector(first_lane, vector(ir.Undefined), every_lane)


def _fused(builder: Any, one: Any, other: Any, addend: Any) -> Any:
    """Return ``one * other + addend``, rounded once."""
    name = f"llvm.fma.v{one.type.count}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(one.type, [one.type] * 3), name)
    return builder.call(function, [one, other, addend])


def _maximum(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def _pairs(builder: Any, one: Any, other: Any) -> list[tuple[Any, Any]]:
    """Pair the elements of two tuples of the same length."""
    return list(zip(cgutils.unpack_tuple(builder, one), cgutils.unpack_tuple(builder, other), strict=True))


def _llvm_type(vector: Vector) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), vector.width)
