"""Four rows of a matrix product: the loop that does most of an epoch's arithmetic.

Dense layers, their gradients, and most convolutions on their way forward come down to it, with other numbers
for where the values lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.kernels.compiler import inlined, kernel
from pipeline.kernels.plan import IntArray
from pipeline.kernels.vectors import (
    LANES,
    WIDEST,
    add,
    element,
    from_each,
    load,
    multiply_add_each,
    store,
    store_each,
    zeros,
)
from pipeline.weights import FloatArray

Four = tuple[int, int, int, int]
Walk = tuple[int, int, int, int]
Steps = tuple[int, int, int]
FourVectors = tuple[Any, Any, Any, Any]


def _four_sums_of(width: int) -> Callable[..., FourVectors]:
    """Make the kernel for ``width`` columns: four sums of products, which stay in registers."""

    @inlined
    def four_sums(
        values: FloatArray,
        starts: Four,
        walk: Walk,
        matrix: FloatArray,
        matrix_start: int,
        columns: int,
        initial: FloatArray,
        initial_start: int,
    ) -> FourVectors:
        rows, row_step, count, step = walk
        first_sum = load(initial, initial_start, width)
        sums = (first_sum, first_sum, first_sum, first_sum)
        for row in range(rows):
            places = from_each(starts, row * row_step)
            for _ in range(count):
                sums = multiply_add_each(values, places, load(matrix, matrix_start, width), sums)
                places = from_each(places, step)
                matrix_start += columns
        return sums

    return four_sums


four_sums_64 = _four_sums_of(64)
four_sums_32 = _four_sums_of(32)
four_sums_16 = _four_sums_of(16)


@kernel
def four_rows(
    values: FloatArray,
    starts: Four,
    walk: Walk,
    matrix: FloatArray,
    matrix_start: int,
    columns: int,
    initial: FloatArray,
    initial_start: int,
    results: FloatArray,
    results_starts: Four,
) -> None:
    """Multiply four walks through ``values`` with a matrix.

    For each of the four p and each column c::

        results[results_starts[p] + c] = initial[initial_start + c]
            + sum over k: values[starts[p] + k-th place of the walk] * matrix[matrix_start + k * columns + c]

    Products are added in the order of k, one rounding each, whatever the processor.

    Parameters
    ----------
    walk : (rows, row_step, count, step)
        The places: for each of ``rows`` rows, ``row_step`` apart, ``count`` places that lie ``step`` apart.
    columns : int
        A multiple of 16.
    """
    column = 0
    while columns - column >= 64 and WIDEST >= 64:
        sums = four_sums_64(
            values, starts, walk, matrix, matrix_start + column, columns, initial, initial_start + column
        )
        store_each(results, from_each(results_starts, column), sums)
        column += 64
    while columns - column >= 32 and WIDEST >= 32:
        sums = four_sums_32(
            values, starts, walk, matrix, matrix_start + column, columns, initial, initial_start + column
        )
        store_each(results, from_each(results_starts, column), sums)
        column += 32
    while column < columns:
        sums = four_sums_16(
            values, starts, walk, matrix, matrix_start + column, columns, initial, initial_start + column
        )
        store_each(results, from_each(results_starts, column), sums)
        column += 16


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

    A register of AVX-512 holds 16 columns. Four sums of one register each would wait for one another: an
    addition takes four cycles, and one can begin in each.
    """
    window, row, column = steps
    starts = (start, start + column, start + row, start + row + column)
    next_starts = from_each(starts, window)
    first_sum = load(initial, initial_start, LANES)
    sums = (first_sum, first_sum, first_sum, first_sum)
    next_sums = sums
    for number in range(len(places)):
        place = element(places, number)
        factors = load(matrix, matrix_start + LANES * number, LANES)
        sums = multiply_add_each(values, from_each(starts, place), factors, sums)
        next_sums = multiply_add_each(values, from_each(next_starts, place), factors, next_sums)
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
