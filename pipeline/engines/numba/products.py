"""Rows of a matrix product: most of an epoch's arithmetic.

Dense layers, their gradients, and the forward pass of convolutions are products of this kind and differ only in the
strides of their values. Products are added in the order of the matrix's rows, each rounded once, on every processor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pipeline.engines.numba.compiler import inlined
from pipeline.engines.numba.intrinsics import LANES, WIDTHS, add, indices, load, load_repeated, multiply_add, store
from pipeline.networks.arrays import FloatArray

ROWS, COLUMNS = WIDTHS.rows, WIDTHS.columns

# The values of a row: (lines, line_stride, count, stride). Each line has `count` values at distance `stride`, and
# `line_stride` is the distance of two lines.
Strides = tuple[int, int, int, int]


@functools.cache
def row_sums_of(width: int) -> Callable[..., Any]:
    """Make the kernel for ``width`` columns of the matrix."""

    @inlined
    def row_sums(
        values: FloatArray,
        starts: tuple[int, ...],
        strides: Strides,
        matrix: FloatArray,
        column: int,
        columns: int,
        initial: FloatArray,
    ) -> Any:
        """Multiply rows by the columns of a matrix from ``column`` on; return a vector of sums for each row.

        A row begins at one of the ``starts``, and its sums with the ``initial`` value of their column. The matrix has
        ``columns`` columns; each of its values is read once for all rows.
        """
        sums = load(initial, indices(column, 0, ROWS), width)
        lines, line_stride, count, stride = strides
        position = column
        for line in range(lines):
            number = line * line_stride
            for _ in range(count):
                numbers = load_repeated(values, add(starts, number), width)
                sums = multiply_add(numbers, load(matrix, position, width), sums)
                number += stride
                position += columns
        return sums

    return row_sums


wide_row_sums = row_sums_of(COLUMNS)
row_sums = row_sums_of(LANES)


@inlined
def multiply_eight_rows(
    values: FloatArray,
    row_stride: int,
    strides: Strides,
    matrix: FloatArray,
    columns: int,
    initial: FloatArray,
    results: FloatArray,
    result_stride: int,
) -> None:
    """Multiply eight rows of ``values`` by a matrix.

    For each row r and each column c::

        results[r * result_stride + c] = initial[c]
            + sum over k: values[r * row_stride + k-th offset of the strides] * matrix[k * columns + c]

    Parameters
    ----------
    columns : int
        A multiple of 16.
    """
    wide_columns = columns // COLUMNS * COLUMNS
    for column in range(0, wide_columns, COLUMNS):
        for row in range(0, 8, ROWS):
            starts = indices(row * row_stride, row_stride, ROWS)
            wide = wide_row_sums(values, starts, strides, matrix, column, columns, initial)
            store(results, indices(row * result_stride + column, result_stride, ROWS), wide)
    for column in range(wide_columns, columns, LANES):
        for row in range(0, 8, ROWS):
            starts = indices(row * row_stride, row_stride, ROWS)
            sums = row_sums(values, starts, strides, matrix, column, columns, initial)
            store(results, indices(row * result_stride + column, result_stride, ROWS), sums)
