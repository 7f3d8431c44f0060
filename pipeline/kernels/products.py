"""Four rows of a matrix product: the loop that does most of an epoch's arithmetic.

Convolution, dense layers and their gradients all come down to it, with other numbers for where the
values lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.kernels.compiler import inlined, kernel
from pipeline.kernels.plan import IntArray
from pipeline.kernels.vectors import LANES, WIDEST, load, multiply_add, store
from pipeline.weights import FloatArray

Four = tuple[int, int, int, int]
Walk = tuple[int, int, int, int]
Steps = tuple[int, int, int]


def _four_rows(
    values: FloatArray,
    starts: Four,
    walk: Walk,
    matrix: FloatArray,
    matrix_start: int,
    columns: int,
    initial: FloatArray,
    initial_starts: Four,
    results: FloatArray,
    results_starts: Four,
) -> None:
    """Multiply four walks through ``values`` with a matrix.

    For each of the four p and each column c::

        results[results_starts[p] + c] = initial[initial_starts[p] + c]
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
        _four_rows_64(
            values,
            starts,
            walk,
            matrix,
            matrix_start,
            columns,
            initial,
            initial_starts,
            results,
            results_starts,
            column,
        )
        column += 64
    while columns - column >= 32 and WIDEST >= 32:
        _four_rows_32(
            values,
            starts,
            walk,
            matrix,
            matrix_start,
            columns,
            initial,
            initial_starts,
            results,
            results_starts,
            column,
        )
        column += 32
    while column < columns:
        _four_rows_16(
            values,
            starts,
            walk,
            matrix,
            matrix_start,
            columns,
            initial,
            initial_starts,
            results,
            results_starts,
            column,
        )
        column += 16


def _four_rows_of(width: int) -> Callable[..., None]:
    """Make the kernel for ``width`` columns: four sums of products, which stay in registers."""

    @inlined
    def four_rows_of_width(
        values: FloatArray,
        starts: Four,
        walk: Walk,
        matrix: FloatArray,
        matrix_start: int,
        columns: int,
        initial: FloatArray,
        initial_starts: Four,
        results: FloatArray,
        results_starts: Four,
        column: int,
    ) -> None:
        first, second, third, fourth = starts
        rows, row_step, count, step = walk
        sum1: Any = load(initial, initial_starts[0] + column, width)
        sum2: Any = load(initial, initial_starts[1] + column, width)
        sum3: Any = load(initial, initial_starts[2] + column, width)
        sum4: Any = load(initial, initial_starts[3] + column, width)
        matrix_place = matrix_start + column
        for row in range(rows):
            place = row * row_step
            for _ in range(count):
                factors = load(matrix, matrix_place, width)
                sum1 = multiply_add(values, first + place, factors, sum1)
                sum2 = multiply_add(values, second + place, factors, sum2)
                sum3 = multiply_add(values, third + place, factors, sum3)
                sum4 = multiply_add(values, fourth + place, factors, sum4)
                place += step
                matrix_place += columns
        store(results, results_starts[0] + column, sum1)
        store(results, results_starts[1] + column, sum2)
        store(results, results_starts[2] + column, sum3)
        store(results, results_starts[3] + column, sum4)

    return four_rows_of_width


@inlined
def two_windows(
    values: FloatArray,
    start: int,
    steps: Steps,
    places: IntArray,
    matrix: FloatArray,
    matrix_start: int,
    initial: FloatArray,
    initial_start: int,
    results: FloatArray,
    results_start: int,
    results_steps: Steps,
) -> None:
    """Multiply eight rows of ``values``, two windows of 2x2, with a matrix of 16 columns.

    For each window w, row r and column c of it, and each column m of the matrix::

        results[results_start + (w, r, c) . results_steps + m] = initial[initial_start + m]
            + sum over k: values[start + (w, r, c) . steps + places[k]] * matrix[matrix_start + 16 k + m]

    A register of AVX-512 holds 16 columns. Four sums of one register each would wait for one another: an
    addition takes four cycles, and one can begin in each.
    """
    window, row, column = steps
    sum1: Any = load(initial, initial_start, LANES)
    sum2: Any = sum1
    sum3: Any = sum1
    sum4: Any = sum1
    sum5: Any = sum1
    sum6: Any = sum1
    sum7: Any = sum1
    sum8: Any = sum1
    for number in range(len(places)):
        place = start + places[number]
        factors = load(matrix, matrix_start + LANES * number, LANES)
        sum1 = multiply_add(values, place, factors, sum1)
        sum2 = multiply_add(values, place + column, factors, sum2)
        sum3 = multiply_add(values, place + row, factors, sum3)
        sum4 = multiply_add(values, place + row + column, factors, sum4)
        sum5 = multiply_add(values, place + window, factors, sum5)
        sum6 = multiply_add(values, place + window + column, factors, sum6)
        sum7 = multiply_add(values, place + window + row, factors, sum7)
        sum8 = multiply_add(values, place + window + row + column, factors, sum8)
    window, row, column = results_steps
    store(results, results_start, sum1)
    store(results, results_start + column, sum2)
    store(results, results_start + row, sum3)
    store(results, results_start + row + column, sum4)
    store(results, results_start + window, sum5)
    store(results, results_start + window + column, sum6)
    store(results, results_start + window + row, sum7)
    store(results, results_start + window + row + column, sum8)


@kernel
def add_column_sums(matrix: FloatArray, start: int, rows: int, columns: int, sums: FloatArray, sums_start: int) -> None:
    """Add the sum of each column of a matrix to ``sums``; ``columns`` is a multiple of 16.

    Every fourth row goes into the same of four sums, so that no addition waits for the one before it.
    """
    one, zeros = np.ones(1, np.float32), np.zeros(LANES, np.float32)
    for column in range(0, columns, LANES):
        place = start + column
        sum1: Any = load(sums, sums_start + column, LANES)
        sum2: Any = load(zeros, 0, LANES)
        sum3: Any = sum2
        sum4: Any = sum2
        for _ in range(rows // 4):
            sum1 = multiply_add(one, 0, load(matrix, place, LANES), sum1)
            sum2 = multiply_add(one, 0, load(matrix, place + columns, LANES), sum2)
            sum3 = multiply_add(one, 0, load(matrix, place + 2 * columns, LANES), sum3)
            sum4 = multiply_add(one, 0, load(matrix, place + 3 * columns, LANES), sum4)
            place += 4 * columns
        for _ in range(rows % 4):
            sum1 = multiply_add(one, 0, load(matrix, place, LANES), sum1)
            place += columns
        sum1 = multiply_add(one, 0, sum2, sum1)
        sum3 = multiply_add(one, 0, sum4, sum3)
        store(sums, sums_start + column, multiply_add(one, 0, sum3, sum1))


four_rows = kernel(_four_rows)

four_rows_inlined = inlined(_four_rows)
"""The same inside its caller, for products so short that a call would take as long as they do."""

_four_rows_64 = _four_rows_of(64)
_four_rows_32 = _four_rows_of(32)
_four_rows_16 = _four_rows_of(16)
