"""How much a program computes at a time.

Triton takes powers of two, and its products at least 16. A GPU needs many programs, because each of its multiprocessors
takes some; the interpreter takes one after another, and the fewer the better.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton

IS_INTERPRETED = bool(triton.knobs.runtime.interpret)


@dataclass(frozen=True)
class Blocks:
    """The largest blocks.

    Parameters
    ----------
    programs : int
        Programs that a convolution has at least, if there is work for them.
    weight_programs : int
        The same for the gradient of its weights.
    sums : int
        Sums of a product, in the registers of a program of a convolution.
    columns : int
        Filters, channels or units of a block, and inputs that a dense layer multiplies at once.
    weights : int
        Weights of a filter whose gradients a program computes.
    summed : int
        Positions that are added to them at once, times the weights or the filters of a program, whichever are more.
    updated : int
        Weights of a program of the update.
    """

    programs: int
    weight_programs: int
    sums: int
    columns: int
    weights: int
    summed: int
    updated: int

    def of_columns(self, size: int) -> int:
        """Return the block for filters, channels or weights."""
        return min(self.columns, power_of_two(size))

    def of_rows(self, rows: int, columns: int, column_blocks: int) -> int:
        """Return the largest block for rows of ``columns`` sums that gives enough programs, or the smallest one."""
        block = min(self.sums // columns, power_of_two(rows))
        while block > 16 and blocks_in(rows, block) * column_blocks < self.programs:
            block //= 2
        return block


ON_GPU = Blocks(programs=264, weight_programs=132, sums=2048, columns=32, weights=64, summed=1024, updated=64)
"""Chosen on an H100, which has 132 multiprocessors; ``bench/blocks.py`` compares others."""

INTERPRETED = Blocks(programs=1, weight_programs=1, sums=2**17, columns=128, weights=128, summed=2**20, updated=4096)


def blocks_in(size: int, block: int) -> int:
    """Return the number of blocks, of which the last may be smaller."""
    return -(-size // block)


def power_of_two(size: int) -> int:
    """Return the smallest block that holds everything."""
    return max(16, 1 << (size - 1).bit_length())
