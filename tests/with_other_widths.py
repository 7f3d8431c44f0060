"""Train and evaluate with the numba engine, its kernels compiled with the widths for processors of the other kind.

LLVM splits vectors that are wider than a register, so the kernels for AVX-512 run without it, too, and the others with
it.

Run with ``python -m tests.with_other_widths``. A failure belongs to the last network that it names.
"""

from __future__ import annotations

import os
import sys

from pipeline.engines.numba import cache, intrinsics
from pipeline.engines.numba.intrinsics import WITH_AVX512, WITHOUT_AVX512, Widths


def main():
    # The cache tells kernels apart by their sources and the processor: these must not lie among those for this one.
    os.environ["NUMBA_CACHE_DIR"] = str(cache.folder().parent / "with-other-widths")
    other = WITHOUT_AVX512 if intrinsics.WIDTHS is WITH_AVX512 else WITH_AVX512
    intrinsics.WIDTHS = other  # before the kernels' modules read it
    from pipeline.engines.numba import convolution_backward, first_convolution, products

    used = Widths(products.ROWS, products.COLUMNS, first_convolution.FILTERS, convolution_backward.WEIGHTS)
    assert used == other, used
    from tests import kernels_between_guards

    check_a_step_of_each_network()
    kernels_between_guards.main("behind")


def check_a_step_of_each_network():
    from pipeline.engines.numba.engine import ENGINE
    from tests.fused_networks import NETWORKS, with_biases
    from tests.small_networks import random_examples
    from tests.test_fused_engines import assert_follows_the_rules

    for name, network in NETWORKS.items():
        sys.stderr.write(f"{name}\n")
        assert_follows_the_rules(ENGINE(threads=2), network, with_biases(network, 1), random_examples(network, 21, 2))


if __name__ == "__main__":
    main()
