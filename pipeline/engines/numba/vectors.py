"""Vectors of float32 that stay in the processor's registers, as a type of Numba's.

Plain loops leave it to the compiler's guess which values stay in registers and which loop becomes vector
instructions; a kernel that is written with these few operations gets the instructions that it names.
A vector may be wider than a register: LLVM splits ``Vector(32)`` into two registers of AVX-512, four of
AVX2 or eight of NEON, so the kernels run on any processor. They are fast on those that multiply and add in
one instruction, which are all but x86 from before 2013.

No operation checks its index.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 16
"""Widths are multiples of this: the 16 float32 of one AVX-512 register."""

HAS_AVX512 = bool(binding.get_host_cpu_features().get("avx512f"))
"""Whether there are 32 registers of 16 float32; other processors have half as many numbers in theirs, or fewer."""


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


@intrinsic  # type: ignore[untyped-decorator]
def element(typing_context: Any, array: Any, index: Any) -> Any:
    """Return ``array[index]``; Numba itself would first ask whether the index counts from the end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(address(context, builder, signature, arguments))

    return array.dtype(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def put(typing_context: Any, array: Any, index: Any, number: Any) -> Any:
    """Set ``array[index] = number``, likewise."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], address(context, builder, signature, arguments))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def zeros(typing_context: Any, width: Any) -> Any:
    """Return a vector of zeros; ``width`` is a constant."""
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _llvm_type(vector)(None)

    return vector(width), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def load(typing_context: Any, array: Any, index: Any, width: Any) -> Any:
    """Return ``array[index : index + width]``; ``width`` is a constant."""
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = address(context, builder, signature, arguments)
        return _read(builder, place, _llvm_type(vector))

    return vector(array, types.intp, width), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Set ``array[index : index + width] = vector``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = address(context, builder, signature, arguments)
        _write(builder, place, arguments[2])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def add(typing_context: Any, one: Any, other: Any) -> Any:
    """Return the sum of two vectors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(arguments[0], arguments[1])

    return one(one, other), generate


@intrinsic  # type: ignore[untyped-decorator]
def multiply_add(typing_context: Any, array: Any, index: Any, vector: Any, addend: Any) -> Any:
    """Return ``array[index] * vector + addend``, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.load(address(context, builder, signature, arguments))
        return _fused(builder, _in_every_lane(builder, number, vector.width), arguments[2], arguments[3])

    return vector(array, types.intp, vector, vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def greatest(typing_context: Any, four: Any) -> Any:
    """Return the greatest of four vectors, lane by lane; nan where one of them is that."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, two, three, four = cgutils.unpack_tuple(builder, arguments[0])
        maxima = _greater(builder, _greater(builder, one, two), _greater(builder, three, four))
        # A comparison in order takes the second of two where either is nan, and so may lose it.
        has_nan = builder.or_(builder.fcmp_unordered("uno", one, two), builder.fcmp_unordered("uno", three, four))
        nans = maxima.type([math.nan] * maxima.type.count)
        return builder.select(has_nan, nans, maxima)

    return four.dtype(four), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_equal(typing_context: Any, array: Any, index: Any, vector: Any, four: Any) -> Any:
    """Set bytes ``array[index : index + width]`` to which of ``four`` vectors equal ``vector``, a bit for each."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        llvm_bytes = ir.VectorType(ir.IntType(8), vector.width)
        found = llvm_bytes(None)
        for position, one in enumerate(cgutils.unpack_tuple(builder, arguments[3])):
            bits = llvm_bytes([1 << position] * vector.width)
            is_equal = builder.fcmp_ordered("==", one, arguments[2])
            found = builder.or_(found, builder.select(is_equal, bits, llvm_bytes(None)))
        _write(builder, address(context, builder, signature, arguments), found)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, four), generate


@intrinsic  # type: ignore[untyped-decorator]
def rectified(typing_context: Any, vector: Any) -> Any:
    """Return a vector with 0 in place of what is below 0; nan stays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = _llvm_type(vector)(None)
        return builder.select(builder.fcmp_ordered("<", arguments[0], zeros), zeros, arguments[0])

    return vector(vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def rectifier_slopes(typing_context: Any, vector: Any) -> Any:
    """Return the slope of (x + abs(x)) / 2 in each lane: 1 above 0, one half at 0, 0 elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros, halves, ones = (_llvm_type(vector)([value] * vector.width) for value in (0.0, 0.5, 1.0))
        at_zero = builder.select(builder.fcmp_ordered("==", arguments[0], zeros), halves, zeros)
        return builder.select(builder.fcmp_ordered(">", arguments[0], zeros), ones, at_zero)

    return vector(vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def where_bit(typing_context: Any, array: Any, index: Any, bit: Any, vector: Any) -> Any:
    """Return ``vector``, with zeros where ``array[index : index + width]`` has none of the bits of ``bit``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        llvm_bytes = ir.VectorType(ir.IntType(8), vector.width)
        found = _read(builder, address(context, builder, signature, arguments), llvm_bytes)
        wanted = _in_every_lane(builder, builder.trunc(arguments[2], ir.IntType(8)), vector.width)
        is_set = builder.icmp_unsigned("!=", builder.and_(found, wanted), llvm_bytes(None))
        return builder.select(is_set, arguments[3], _llvm_type(vector)(None))

    return vector(array, types.intp, types.intp, vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def from_each(typing_context: Any, starts: Any, distance: Any) -> Any:
    """Return a tuple of indices, each ``distance`` further on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        indices = cgutils.unpack_tuple(builder, arguments[0])
        further = [builder.add(index, arguments[1]) for index in indices]
        return context.make_tuple(builder, signature.return_type, further)

    return starts(starts, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def for_each(typing_context: Any, indices: Any, vector: Any) -> Any:
    """Return a tuple with the same vector for each of the indices."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, [arguments[1]] * len(indices))

    return types.containers.UniTuple(vector, len(indices))(indices, vector), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def load_each(typing_context: Any, array: Any, indices: Any, width: Any) -> Any:
    """Return a tuple of vectors: what `load` returns for each of the indices."""
    vector = Vector(width.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = []
        for index in cgutils.unpack_tuple(builder, arguments[1]):
            place = address(context, builder, signature, [arguments[0], index])
            vectors.append(_read(builder, place, _llvm_type(vector)))
        return context.make_tuple(builder, signature.return_type, vectors)

    return types.containers.UniTuple(vector, len(indices))(array, indices, width), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_each(typing_context: Any, array: Any, indices: Any, vectors: Any) -> Any:
    """Do what `store` does for each of the indices, with the vector of the same number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for index, value in _pairs(builder, arguments[1], arguments[2]):
            place = address(context, builder, signature, [arguments[0], index])
            _write(builder, place, value)
        return context.get_dummy_value()

    return types.void(array, indices, vectors), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_numbers_times_vector(typing_context: Any, array: Any, indices: Any, vector: Any, addends: Any) -> Any:
    """Return a tuple: ``addend + array[index] * vector`` for each of the indices and addends, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums = []
        for index, addend in _pairs(builder, arguments[1], arguments[3]):
            number = builder.load(address(context, builder, signature, [arguments[0], index]))
            numbers = _in_every_lane(builder, number, vector.width)
            sums.append(_fused(builder, numbers, arguments[2], addend))
        return context.make_tuple(builder, signature.return_type, sums)

    return addends(array, indices, vector, addends), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_number_times_vectors(typing_context: Any, array: Any, index: Any, vectors: Any, addends: Any) -> Any:
    """Return a tuple: ``addend + array[index] * vector`` for each of the vectors and addends, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.load(address(context, builder, signature, arguments))
        numbers = _in_every_lane(builder, number, vectors.dtype.width)
        pairs = _pairs(builder, arguments[2], arguments[3])
        sums = [_fused(builder, numbers, value, addend) for value, addend in pairs]
        return context.make_tuple(builder, signature.return_type, sums)

    return addends(array, types.intp, vectors, addends), generate


def address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return where the element lies that an intrinsic's second argument numbers in its first one, an array."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


def _read(builder: Any, place: Any, vector: ir.VectorType) -> Any:
    """Load a vector from an address at which any number of its kind may lie."""
    return builder.load(builder.bitcast(place, vector.as_pointer()), align=_bytes_of_lane(vector))


def _write(builder: Any, place: Any, vector: Any) -> None:
    """Store a vector at such an address."""
    builder.store(vector, builder.bitcast(place, vector.type.as_pointer()), align=_bytes_of_lane(vector.type))


def _bytes_of_lane(vector: ir.VectorType) -> int:
    return 4 if vector.element == ir.FloatType() else 1


def _in_every_lane(builder: Any, number: Any, width: int) -> Any:
    """Return a vector of ``width`` times ``number``."""
    vector = ir.VectorType(number.type, width)
    first_lane = builder.insert_element(vector(ir.Undefined), number, ir.IntType(32)(0))
    every_lane = ir.VectorType(ir.IntType(32), width)(None)
    return builder.shuffle_vector(first_lane, vector(ir.Undefined), every_lane)


def _fused(builder: Any, one: Any, other: Any, addend: Any) -> Any:
    """Multiply two vectors and add a third, rounded once."""
    name = f"llvm.fma.v{one.type.count}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(one.type, [one.type] * 3), name)
    return builder.call(function, [one, other, addend])


def _greater(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def _pairs(builder: Any, one: Any, other: Any) -> list[tuple[Any, Any]]:
    """Pair what two tuples of the same length hold."""
    return list(zip(cgutils.unpack_tuple(builder, one), cgutils.unpack_tuple(builder, other), strict=True))


def _llvm_type(vector: Vector) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), vector.width)
