"""Rows of a matrix product: most of an epoch's arithmetic.

Dense layers, their gradients, and the forward pass of convolutions are products of this kind and differ only in the
strides of their values. Products are added in the order of the matrix's rows, each rounded once, on every processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.intrinsics import (
    HAS_AVX512,
    LANES,
    add,
    load,
    load_scalar,
    multiply_add_scalars,
    repeated,
    shifted,
    store,
    store_each,
    zeros,
)
from pipeline.networks.arrays import FloatArray, IntArray

# Offsets of rows.
Four = tuple[int, int, int, int]
Eight = tuple[int, int, int, int, int, int, int, int]

# The values of a row: (lines, line_stride, count, stride). Each line has `count` values at distance `stride`, and
# `line_stride` is the distance of two lines.
Strides = tuple[int, int, int, int]

FourVectors = tuple[Any, Any, Any, Any]


def _row_sums_of(width: int) -> Callable[..., Any]:
    """Make the kernel for ``width`` columns of the matrix."""

    @inlined
    def row_sums(
        values: FloatArray,
        starts: tuple[int, ...],
        strides: Strides,
        matrix: FloatArray,
        matrix_start: int,
        columns: int,
        initial: FloatArray,
        initial_start: int,
    ) -> tuple[Any, ...]:
        """Multiply each row that begins at one of the ``starts``; the sums, a vector for each row, stay in registers.

        The matrix has ``columns`` columns, of which ``width`` are multiplied, from offset ``matrix_start`` on. Each of
        its values is read once for all rows.
        """
        lines, line_stride, count, stride = strides
        sums: tuple[Any, ...] = repeated(load(initial, initial_start, width), starts)
        for line in range(lines):
            offsets = shifted(starts, line * line_stride)
            for _ in range(count):
                sums = multiply_add_scalars(values, offsets, load(matrix, matrix_start, width), sums)
                offsets = shifted(offsets, stride)
                matrix_start += columns
        return sums

    return row_sums


row_sums_64 = _row_sums_of(64)
row_sums_32 = _row_sums_of(32)
row_sums_16 = _row_sums_of(16)


@kernel
def multiply_eight_rows(
    values: FloatArray,
    starts: Eight,
    strides: Strides,
    matrix: FloatArray,
    matrix_start: int,
    columns: int,
    initial: FloatArray,
    initial_start: int,
    results: FloatArray,
    result_starts: Eight,
) -> None:
    """Multiply eight rows of ``values`` by a matrix.

    For each of the eight rows r and each column c::

        results[result_starts[r] + c] = initial[initial_start + c]
            + sum over k: values[starts[r] + k-th offset of the strides] * matrix[matrix_start + k * columns + c]

    Parameters
    ----------
    columns : int
        A multiple of 16.
    """
    column = 0
    while columns - column >= 32 and HAS_AVX512:
        sums = row_sums_32(
            values, starts, strides, matrix, matrix_start + column, columns, initial, initial_start + column
        )
        store_each(results, shifted(result_starts, column), sums)
        column += 32
    while column < columns:
        offsets = shifted(result_starts, column)
        if HAS_AVX512:
            narrow_sums = row_sums_16(
                values, starts, strides, matrix, matrix_start + column, columns, initial, initial_start + column
            )
            store_each(results, offsets, narrow_sums)
        else:
            # The registers hold half as many sums.
            first_sums = row_sums_16(
                values, starts[:4], strides, matrix, matrix_start + column, columns, initial, initial_start + column
            )
            store_each(results, offsets[:4], first_sums)
            last_sums = row_sums_16(
                values, starts[4:], strides, matrix, matrix_start + column, columns, initial, initial_start + column
            )
            store_each(results, offsets[4:], last_sums)
        column += 16


@kernel
def eight_offsets(start: int, stride: int, number: int, stop: int) -> Eight:
    """Return the offsets of rows ``number`` to ``number + 7``, or of the last row before ``stop`` in place of others.

    Row 0 begins at ``start``, and ``stride`` is the distance of two rows.
    """
    last = stop - 1
    return (
        start + stride * number,
        start + stride * min(number + 1, last),
        start + stride * min(number + 2, last),
        start + stride * min(number + 3, last),
        start + stride * min(number + 4, last),
        start + stride * min(number + 5, last),
        start + stride * min(number + 6, last),
        start + stride * min(number + 7, last),
    )


@inlined
def two_window_sums(
    values: FloatArray,
    start: int,
    window_strides: tuple[int, int, int],
    offsets: IntArray,
    matrix: FloatArray,
    matrix_start: int,
    initial: FloatArray,
    initial_start: int,
) -> tuple[FourVectors, FourVectors]:
    """Multiply eight rows of ``values``, those of two windows of 2x2, by a matrix of 16 columns.

    For each window w, its row r and column c, and each column m of the matrix, the sum is::

        initial[initial_start + m]
            + sum over k: values[start + (w, r, c) . window_strides + offsets[k]] * matrix[matrix_start + 16 k + m]

    Eight sums keep a processor busy that begins two such additions in each cycle and takes four cycles for each: with
    fewer sums all of them would wait for their previous addition.
    """
    window, row, column = window_strides
    starts = (start, start + column, start + row, start + row + column)
    next_starts = shifted(starts, window)
    sums = repeated(load(initial, initial_start, LANES), starts)
    next_sums = sums
    for number in range(len(offsets)):
        offset = load_scalar(offsets, number)
        weights = load(matrix, matrix_start + LANES * number, LANES)
        sums = multiply_add_scalars(values, shifted(starts, offset), weights, sums)
        next_sums = multiply_add_scalars(values, shifted(next_starts, offset), weights, next_sums)
    return sums, next_sums


@kernel
def add_column_sums(matrix: FloatArray, start: int, rows: int, columns: int, sums: FloatArray, sums_start: int) -> None:
    """Add the sum of each column of a matrix to ``sums``; ``columns`` is a multiple of 16.

    Four partial sums take the rows in turn, so that no addition waits for the previous one.
    """
    for column in range(0, columns, LANES):
        offset = start + column
        sum1: Any = load(sums, sums_start + column, LANES)
        sum2: Any = zeros(LANES)
        sum3: Any = sum2
        sum4: Any = sum2
        for _ in range(rows // 4):
            sum1 = add(sum1, load(matrix, offset, LANES))
            sum2 = add(sum2, load(matrix, offset + columns, LANES))
            sum3 = add(sum3, load(matrix, offset + 2 * columns, LANES))
            sum4 = add(sum4, load(matrix, offset + 3 * columns, LANES))
            offset += 4 * columns
        for _ in range(rows % 4):
            sum1 = add(sum1, load(matrix, offset, LANES))
            offset += columns
        sum1 = add(sum1, sum2)
        sum3 = add(sum3, sum4)
        store(sums, sums_start + column, add(sum1, sum3))
