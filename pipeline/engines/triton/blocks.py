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
    """The largest blocks; the sums of a product, ``rows`` by ``columns``, are in the registers of a program.

    ``programs`` is the number of programs that a kernel has at least, if there is work for them. ``summed`` are the
    positions of images that the gradient of a convolution's weights adds up at once, more of them where a program has
    fewer than ``columns`` weights and filters. ``updated`` are the weights of a program of the update.
    """

    programs: int
    rows: int
    columns: int
    summed: int
    updated: int

    def of_columns(self, size: int) -> int:
        """Return the block for filters, channels or weights."""
        return min(self.columns, power_of_two(size))

    def of_rows(self, rows: int, column_blocks: int) -> int:
        """Return the largest block for positions that gives enough programs, or the smallest one."""
        block = min(self.rows, power_of_two(rows))
        while block > 16 and blocks_in(rows, block) * column_blocks < self.programs:
            block //= 2
        return block


ON_GPU = Blocks(programs=128, rows=64, columns=32, summed=32, updated=64)
"""For the 132 multiprocessors of an H100 and their registers."""

INTERPRETED = Blocks(programs=1, rows=8192, columns=128, summed=8192, updated=4096)


def blocks_in(size: int, block: int) -> int:
    """Return the number of blocks, of which the last may be smaller."""
    return -(-size // block)


def power_of_two(size: int) -> int:
    """Return the smallest block that holds everything."""
    return max(16, 1 << (size - 1).bit_length())
