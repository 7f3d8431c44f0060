"""Have the data sets of the table and the numba engine's kernels ready before anything is measured."""

from __future__ import annotations

from check_gpu.plan import Plan


def main() -> None:
    """Train both networks for an epoch on the CPU, with the numba engine."""
    plan = Plan.read()
    flags = ("--engine=numba", "--device=cpu", "--TrainMLP-epochs=1", "--TrainCNN-epochs=1")
    plan.luigi("Pipeline", *flags, archive=plan.archive, results="table")
    print("data sets and kernels are ready")


if __name__ == "__main__":
    main()
