"""Rows of a matrix product: the loop that does most of an epoch's arithmetic.

Dense layers, their gradients, and the forward pass of convolutions come down to it, with other numbers for where the
values lie. Products are added in the order of the rows of the matrix, one rounding each, whatever the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.engines.numba.compiler import inlined, kernel
from pipeline.engines.numba.vectors import (
    HAS_AVX512,
    LANES,
    add,
    add_numbers_times_vector,
    element,
    for_each,
    from_each,
    load,
    store,
    store_each,
    zeros,
)
from pipeline.networks.arrays import FloatArray, IntArray

# Where each of so many rows begins.
Four = tuple[int, int, int, int]
Eight = tuple[int, int, int, int, int, int, int, int]

# Where the values of a row lie: (lines, line_step, count, step). In each of its lines, `line_step` apart, there are
# `count` values, `step` apart.
Walk = tuple[int, int, int, int]

# How far it is to the next window, to the next line of a window, and to the next value of a line.
Steps = tuple[int, int, int]

FourVectors = tuple[Any, Any, Any, Any]


def _row_sums_of(width: int) -> Callable[..., Any]:
    """Make the kernel for ``width`` columns of the matrix."""

    @inlined
    def row_sums(
        values: FloatArray,
        starts: tuple[int, ...],
        walk: Walk,
        matrix: FloatArray,
        matrix_start: int,
        columns: int,
        initial: FloatArray,
        initial_start: int,
    ) -> tuple[Any, ...]:
        """Multiply each row that begins at one of the ``starts``; the sums, a vector each, stay in registers.

        The matrix has ``columns`` columns, and ``matrix_start`` is where the first of ``width`` of them begins. Each
        of its values is read once for all rows.
        """
        lines, line_step, count, step = walk
        sums: tuple[Any, ...] = for_each(starts, load(initial, initial_start, width))
        for line in range(lines):
            places = from_each(starts, line * line_step)
            for _ in range(count):
                sums = add_numbers_times_vector(values, places, load(matrix, matrix_start, width), sums)
                places = from_each(places, step)
                matrix_start += columns
        return sums

    return row_sums


row_sums_64 = _row_sums_of(64)
row_sums_32 = _row_sums_of(32)
row_sums_16 = _row_sums_of(16)


@kernel
def eight_rows(
    values: FloatArray,
    starts: Eight,
    walk: Walk,
    matrix: FloatArray,
    matrix_start: int,
    columns: int,
    initial: FloatArray,
    initial_start: int,
    results: FloatArray,
    results_starts: Eight,
) -> None:
    """Multiply eight rows of ``values`` with a matrix.

    For each of the eight r and each column c::

        results[results_starts[r] + c] = initial[initial_start + c]
            + sum over k: values[starts[r] + k-th place of the walk] * matrix[matrix_start + k * columns + c]

    Parameters
    ----------
    columns : int
        A multiple of 16.
    """
    column = 0
    while columns - column >= 32 and HAS_AVX512:
        sums = row_sums_32(
            values, starts, walk, matrix, matrix_start + column, columns, initial, initial_start + column
        )
        store_each(results, from_each(results_starts, column), sums)
        column += 32
    while column < columns:
        places = from_each(results_starts, column)
        if HAS_AVX512:
            narrow_sums = row_sums_16(
                values, starts, walk, matrix, matrix_start + column, columns, initial, initial_start + column
            )
            store_each(results, places, narrow_sums)
        else:
            # Half as many sums fit into the registers.
            first_sums = row_sums_16(
                values, starts[:4], walk, matrix, matrix_start + column, columns, initial, initial_start + column
            )
            store_each(results, places[:4], first_sums)
            last_sums = row_sums_16(
                values, starts[4:], walk, matrix, matrix_start + column, columns, initial, initial_start + column
            )
            store_each(results, places[4:], last_sums)
        column += 16


@kernel
def eight_starts(start: int, step: int, number: int, stop: int) -> Eight:
    """Return where rows ``number`` to ``number + 7`` begin, ``step`` apart from row 0 at ``start``.

    Where there are fewer up to ``stop``, the last one fills in.
    """
    last = stop - 1
    return (
        start + step * number,
        start + step * min(number + 1, last),
        start + step * min(number + 2, last),
        start + step * min(number + 3, last),
        start + step * min(number + 4, last),
        start + step * min(number + 5, last),
        start + step * min(number + 6, last),
        start + step * min(number + 7, last),
    )


@inlined
def sums_of_two_windows(
    values: FloatArray,
    start: int,
    steps: Steps,
    places: IntArray,
    matrix: FloatArray,
    matrix_start: int,
    initial: FloatArray,
    initial_start: int,
) -> tuple[FourVectors, FourVectors]:
    """Multiply eight rows of ``values``, two windows of 2x2, with a matrix of 16 columns.

    For each window w, row r and column c of it, and each column m of the matrix, the sum is::

        initial[initial_start + m]
            + sum over k: values[start + (w, r, c) . steps + places[k]] * matrix[matrix_start + 16 k + m]

    Eight, since processors begin two such additions in each cycle, and each takes four: fewer sums would leave
    cycles in which all of them wait for the addition before.
    """
    window, row, column = steps
    starts = (start, start + column, start + row, start + row + column)
    next_starts = from_each(starts, window)
    sums = for_each(starts, load(initial, initial_start, LANES))
    next_sums = sums
    for number in range(len(places)):
        place = element(places, number)
        factors = load(matrix, matrix_start + LANES * number, LANES)
        sums = add_numbers_times_vector(values, from_each(starts, place), factors, sums)
        next_sums = add_numbers_times_vector(values, from_each(next_starts, place), factors, next_sums)
    return sums, next_sums


@kernel
def add_column_sums(matrix: FloatArray, start: int, rows: int, columns: int, sums: FloatArray, sums_start: int) -> None:
    """Add the sum of each column of a matrix to ``sums``; ``columns`` is a multiple of 16.

    Every fourth row goes into the same of four sums, so that no addition waits for the one before it.
    """
    for column in range(0, columns, LANES):
        place = start + column
        sum1: Any = load(sums, sums_start + column, LANES)
        sum2: Any = zeros(LANES)
        sum3: Any = sum2
        sum4: Any = sum2
        for _ in range(rows // 4):
            sum1 = add(sum1, load(matrix, place, LANES))
            sum2 = add(sum2, load(matrix, place + columns, LANES))
            sum3 = add(sum3, load(matrix, place + 2 * columns, LANES))
            sum4 = add(sum4, load(matrix, place + 3 * columns, LANES))
            place += 4 * columns
        for _ in range(rows % 4):
            sum1 = add(sum1, load(matrix, place, LANES))
            place += columns
        sum1 = add(sum1, sum2)
        sum3 = add(sum3, sum4)
        store(sums, sums_start + column, add(sum1, sum3))
