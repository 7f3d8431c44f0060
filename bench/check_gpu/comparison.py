"""Make the article's table: both networks on each engine and device of this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from check_gpu.plan import Plan

FILES = ("comparison.md", "comparison.json", "curves.png")


def main() -> None:
    """Compare, print the table, and keep its files."""
    plan = Plan.read()
    # A trial of the command trains for an epoch, otherwise as long as declared.
    flags = ["--TrainMLP-epochs=1", "--TrainCNN-epochs=1"] if plan.is_trial else []
    latest = plan.luigi("Compare", "--seeds=42", *flags, archive=plan.archive, results="table")
    for name in FILES:
        shutil.copy(latest / "Compare" / name, plan.out)
    table = Path(plan.out, FILES[0]).read_text()
    print(table)
    if f"| {plan.device} |" not in table:
        sys.exit(f"the table has no row of {plan.device}")
    print(f"the table is {FILES[0]}")


if __name__ == "__main__":
    main()
