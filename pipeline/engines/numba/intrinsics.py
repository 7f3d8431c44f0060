"""Operations that Numba lacks: vectors in registers, access without checks of the index, atomic counters.

In a plain loop the compiler guesses which values stay in registers and which loops become vector instructions. A
kernel written with these operations gets the instructions that it names. A vector may be wider than a register: LLVM
splits ``Vector(16)`` into two registers of AVX2 or four of NEON, so the kernels run on any processor. They are fast on
processors with a fused multiply-add, which x86 has had since 2013.

Where an operation takes one value, it also takes a tuple, does the same for each element, and returns a tuple. So
``multiply_add(load_repeated(values, rows, 16), vector, sums)`` is a loop over rows whose sums stay in registers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from itertools import compress
from typing import Any, NamedTuple, cast

from llvmlite import binding, ir
from numba import config
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 16
"""The 16 float32 of one AVX-512 register; units and channels are padded to a multiple of it."""


class Widths(NamedTuple):
    """How much of each kernel's work fits into the registers of a processor; bench/widths.py has what each gains."""

    rows: int
    """Rows of a matrix product at once."""
    columns: int
    """Its columns at once."""
    filters: int
    """Filters of a first convolution whose gradients are summed at once, for 3x3 weights each.

    Without AVX-512 its backward pass takes 1/1.5 of the time that it takes with 16.
    """
    weights: int
    """Weights of one filter of another convolution whose gradients are summed at once.

    Without AVX-512 the backward pass of the article's third convolution takes 1/1.13 of the time that it takes with 16.
    """


# Sums must be at least eight registers: a processor begins two additions in a cycle, and each takes four cycles.
WITH_AVX512 = Widths(rows=8, columns=32, filters=16, weights=64)
"""For 32 registers of 16 float32."""
WITHOUT_AVX512 = Widths(rows=4, columns=16, filters=8, weights=32)
"""For 16 registers of 8 float32, or any others."""

_FEATURES = binding.get_host_cpu_features().flatten() if config.CPU_FEATURES is None else config.CPU_FEATURES
WIDTHS = WITH_AVX512 if "+avx512f" in _FEATURES.split(",") else WITHOUT_AVX512
"""For this processor, or for ``NUMBA_CPU_FEATURES``."""

_MEMORY_ORDER = "seq_cst"
"""A thread that sees an atomic operation sees all that was written before it, too."""


class Vector(types.Type):
    """Numba's type for ``width`` numbers in registers: float32, or integers of 32 bits."""

    def __init__(self, width: int, number: ir.Type | None = None) -> None:
        self.llvm = ir.VectorType(number or ir.FloatType(), width)
        super().__init__(name=f"Vector({self.llvm})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    """A `Vector` is a vector of LLVM's."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.llvm)


class Code:
    """Writes the instructions of one operation."""

    def __init__(self, context: Any, builder: Any, arguments: list[Any], result: Any) -> None:
        self.context, self.builder, self.types, self.result = context, builder, arguments, result

    def address(self, array: Any, index: Any) -> Any:
        """Return the address of an element of the operation's first argument."""
        values = self.context.make_array(self.types[0])(self.context, self.builder, array)
        return self.builder.gep(values.data, [index])

    def read(self, array: Any, index: Any, vector: ir.VectorType) -> Any:
        """Load a vector from neighbouring elements."""
        pointer = self.builder.bitcast(self.address(array, index), vector.as_pointer())
        return self.builder.load(pointer, align=self.types[0].dtype.bitwidth // 8)

    def write(self, array: Any, index: Any, vector: Any) -> None:
        """Store a vector to neighbouring elements."""
        pointer = self.builder.bitcast(self.address(array, index), vector.type.as_pointer())
        self.builder.store(vector, pointer, align=self.types[0].dtype.bitwidth // 8)

    def repeat(self, number: Any, width: int) -> Any:
        """Return a vector that holds ``number`` in each lane."""
        vector = ir.VectorType(number.type, width)
        first_lane = self.builder.insert_element(vector(ir.Undefined), number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first_lane, vector(ir.Undefined), ir.VectorType(ir.IntType(32), width)(None))


def operation(result: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make an operation for kernels from a function that writes its LLVM instructions.

    Parameters
    ----------
    result : callable
        Returns Numba's type of the result for Numba's types of the arguments; that of a constant holds its value.
    """

    def decorate(write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        def define(typing_context: Any, *arguments: Any) -> Any:
            are_tuples = [isinstance(argument, types.containers.BaseTuple) for argument in arguments]
            length = max((len(argument) for argument in compress(arguments, are_tuples)), default=0)
            elements = [
                argument[0] if is_tuple else argument for argument, is_tuple in zip(arguments, are_tuples, strict=True)
            ]
            of_one = result(*elements)
            of_all = types.containers.UniTuple(of_one, length) if length and of_one != types.void else of_one

            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                code = Code(context, builder, elements, of_one)
                results = []
                for number in range(length or 1):
                    pairs = zip(values, are_tuples, strict=True)
                    row = [builder.extract_value(value, number) if is_tuple else value for value, is_tuple in pairs]
                    results.append(write(code, *row))
                if of_one == types.void:
                    return context.get_dummy_value()
                return context.make_tuple(builder, of_all, results) if length else results[0]

            return of_all(*arguments), generate

        return cast(Callable[..., Any], intrinsic(prefer_literal=True)(define))

    return decorate


@operation(lambda array, index: array.dtype)
def load_number(code: Code, array: Any, index: Any) -> Any:
    """Return ``array[index]`` without Numba's check for a negative index."""
    return code.builder.load(code.address(array, index))


@operation(lambda array, index, number: types.void)
def store_number(code: Code, array: Any, index: Any, number: Any) -> None:
    """Set ``array[index] = number`` without Numba's check for a negative index."""
    code.builder.store(number, code.address(array, index))


@operation(lambda array, index, width: Vector(width.literal_value))
def load(code: Code, array: Any, index: Any, width: Any) -> Any:
    """Return ``array[index : index + width]`` of float32; ``width`` is a constant."""
    return code.read(array, index, code.result.llvm)


@operation(lambda array, index, width: Vector(width.literal_value))
def load_repeated(code: Code, array: Any, index: Any, width: Any) -> Any:
    """Return a vector that holds ``array[index]`` in each of its ``width`` lanes; ``width`` is a constant."""
    return code.repeat(code.builder.load(code.address(array, index)), code.result.llvm.count)


@operation(lambda array, index, vector: types.void)
def store(code: Code, array: Any, index: Any, vector: Any) -> None:
    """Set ``array[index : index + width] = vector``; an array of bytes gets its numbers as integers."""
    element = code.context.get_data_type(code.types[0].dtype)
    if vector.type.element != element and element == ir.IntType(8):
        vector = code.builder.fptoui(vector, ir.VectorType(element, vector.type.count))
    code.write(array, index, vector)


@operation(lambda one, other, addend: addend)
def multiply_add(code: Code, one: Any, other: Any, addend: Any) -> Any:
    """Return ``one * other + addend``, rounded once."""
    name = f"llvm.fma.v{addend.type.count}f32"
    kind = ir.FunctionType(addend.type, [addend.type] * 3)
    return code.builder.call(cgutils.get_or_insert_function(code.builder.module, kind, name), [one, other, addend])


@operation(lambda one, other: types.intp if isinstance(one, types.Integer) else one)
def add(code: Code, one: Any, other: Any) -> Any:
    """Return the sum of two vectors, or of two indices."""
    return (code.builder.add if isinstance(code.result, types.Integer) else code.builder.fadd)(one, other)


@operation(lambda index, factor: types.intp)
def multiply(code: Code, index: Any, factor: Any) -> Any:
    """Return the product of an index and a number."""
    return code.builder.mul(index, factor)


@operation(lambda index, limit: types.intp)
def at_most(code: Code, index: Any, limit: Any) -> Any:
    """Return the smaller one of two indices."""
    return code.builder.select(code.builder.icmp_signed("<", index, limit), index, limit)


@operation(lambda vector: vector)
def rectified(code: Code, vector: Any) -> Any:
    """Return max(x, 0) in each lane; nan stays nan."""
    zeros = vector.type(None)
    return code.builder.select(code.builder.fcmp_ordered("<", vector, zeros), zeros, vector)


@operation(lambda array, index, bits, vector: vector)
def where_any_bit(code: Code, array: Any, index: Any, bits: Any, vector: Any) -> Any:
    """Return ``vector``, with 0 in the lanes whose byte in ``array``, from ``index`` on, has none of the bits."""
    count = vector.type.count
    found = code.read(array, index, ir.VectorType(ir.IntType(8), count))
    wanted = code.repeat(code.builder.trunc(bits, ir.IntType(8)), count)
    is_set = code.builder.icmp_unsigned("!=", code.builder.and_(found, wanted), found.type(None))
    return code.builder.select(is_set, vector, vector.type(None))


@operation(lambda one, two, three, four: one)
def maximum_of_four(code: Code, one: Any, two: Any, three: Any, four: Any) -> Any:
    """Return the maximum of four vectors in each lane, nan if one of them is nan."""
    builder = code.builder

    def larger(left: Any, right: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", left, right), left, right)

    maxima = larger(larger(one, two), larger(three, four))
    # If one value is nan, an ordered comparison takes the second, which may be the other one.
    has_nan = builder.or_(builder.fcmp_unordered("uno", one, two), builder.fcmp_unordered("uno", three, four))
    return builder.select(has_nan, one.type([math.nan] * one.type.count), maxima)


@operation(lambda one, two, three, four, maxima: maxima)
def maximum_masks(code: Code, one: Any, two: Any, three: Any, four: Any, maxima: Any) -> Any:
    """Return a mask in each lane: the sum of 1, 2, 4 and 8 for those of four vectors that equal the maximum.

    The masks are float32: LLVM would turn sums of integers into bytes one by one, which takes twice as long.
    """
    builder, masks = code.builder, maxima.type(None)
    for corner, values in enumerate((one, two, three, four)):
        bits = maxima.type([2.0**corner] * maxima.type.count)
        is_equal = builder.fcmp_ordered("==", values, maxima)
        masks = builder.fadd(masks, builder.select(is_equal, bits, maxima.type(None)))
    return masks


@operation(lambda masks, vector, bit: masks)
def rectified_masks(code: Code, masks: Any, vector: Any, bit: Any) -> Any:
    """Return masks with 0 where the vector is negative or nan, and with one more bit where it is 0."""
    builder, zeros = code.builder, vector.type(None)
    bits = code.repeat(builder.uitofp(bit, vector.type.element), vector.type.count)
    more = builder.select(builder.fcmp_ordered("==", vector, zeros), bits, zeros)
    return builder.select(builder.fcmp_ordered(">=", vector, zeros), builder.fadd(masks, more), zeros)


@operation(lambda masks, index, start, right, below: Vector(LANES, ir.IntType(32)))
def first_maxima(code: Code, masks: Any, index: Any, start: Any, right: Any, below: Any) -> Any:
    """Return the offset of a window's first maximum for each of 16 filters; -1 where the mask is 0.

    The window begins at ``start``; ``right`` and ``below`` are the distances to its other column and row.
    """
    builder, offsets = code.builder, code.result.llvm
    found = builder.zext(code.read(masks, index, ir.VectorType(ir.IntType(8), LANES)), offsets)
    firsts = offsets([-1] * LANES)
    for bit, distance in ((8, builder.add(right, below)), (4, below), (2, right), (1, right.type(0))):
        offset = code.repeat(builder.trunc(builder.add(start, distance), offsets.element), LANES)
        is_set = builder.icmp_unsigned("!=", builder.and_(found, offsets([bit] * LANES)), offsets(None))
        firsts = builder.select(is_set, offset, firsts)
    return firsts


@operation(lambda start, distance, count: types.containers.UniTuple(types.intp, count.literal_value))
def indices(code: Code, start: Any, distance: Any, count: Any) -> Any:
    """Return a tuple of indices: ``start``, ``start + distance``, and so on; ``count`` is a constant."""
    indices = [start]
    while len(indices) < len(code.result):
        indices.append(code.builder.add(indices[-1], distance))
    return code.context.make_tuple(code.builder, code.result, indices)


@operation(lambda array, index, number: types.int64)
def atomic_add(code: Code, array: Any, index: Any, number: Any) -> Any:
    """Add a number to ``array[index]``, which other threads change too, and return the value before."""
    return code.builder.atomic_rmw("add", code.address(array, index), number, _MEMORY_ORDER)


@operation(lambda array, index: types.int64)
def atomic_load(code: Code, array: Any, index: Any) -> Any:
    """Return ``array[index]``, which other threads change."""
    return code.builder.load_atomic(code.address(array, index), _MEMORY_ORDER, 8)
