"""Train both networks by Luigi with two workers, in one process, and in one process again: all must end alike."""

from __future__ import annotations

import json
import sys

from check_gpu.plan import Plan, figure
from pipeline.files.digests import file_digest

NETWORKS = ("MLP", "CNN")


def main() -> None:
    """Train with the engine that the command line names, and compare accuracies and the bytes of the weights."""
    plan, engine = Plan.read(), sys.argv[2]
    epochs = 2 if plan.is_trial else 20
    flags = [
        "--threads=1",  # on a CPU, the trial's device, sums depend on the number of threads
        f"--engine={engine}",
        f"--device={plan.device}",
        f"--TrainMLP-epochs={epochs}",
        f"--TrainCNN-epochs={epochs}",
    ]
    ends = {
        "two workers": trained(plan, flags, f"{engine}-two", "--workers=2"),
        "one process": trained(plan, flags, f"{engine}-one", "--workers=1"),
        "one process again": trained(plan, flags, f"{engine}-one", "--workers=1", "--force=TrainMLP,TrainCNN"),
    }
    for name, end in ends.items():
        figure(name, **{key: value if isinstance(value, float) else value[:12] for key, value in end.items()})
    if len({json.dumps(end) for end in ends.values()}) > 1:
        sys.exit(f"{', '.join(ends)}: expected equal accuracies and weights, and they differ")
    print("equal accuracies and equal weights, to the byte, three times")


def trained(plan: Plan, flags: list[str], results: str, *more: str) -> dict[str, float | str]:
    """Train and evaluate; return accuracy and digest of the weights of each network."""
    latest = plan.luigi("Pipeline", *flags, *more, archive="", results=results)
    end: dict[str, float | str] = {}
    for network in NETWORKS:
        end[f"{network} accuracy"] = json.loads((latest / f"Evaluate{network}" / "metrics.json").read_text())[
            "accuracy"
        ]
        end[f"{network} weights"] = file_digest(latest / f"Train{network}" / "weights.h5")
    return end


if __name__ == "__main__":
    main()
