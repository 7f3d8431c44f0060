"""Measure an epoch of each way to train: the pipeline's engines, PyTorch in several ways, and JAX.

All prepare at the same time, each in a process of its own; then they compute in turn. The others are measured even if
one of them fails.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from pathlib import Path

from alternatives import ALTERNATIVES, BASELINE
from check_gpu.plan import Plan, figure, seconds_left
from measuring.alternative_process import OTHERS, AlternativeProcess, Measured, Task, python_for
from pipeline.engines import devices
from pipeline.report.article.runs import ARTICLE

EPOCHS, FEWEST_EPOCHS = 7, 3
LONG = 1.0
"""Seconds of an epoch from which `FEWEST_EPOCHS` are enough."""


def main() -> None:
    """Measure all; fail if a way of the pipeline's own could not be measured."""
    plan = Plan.read()
    begun, limit = time.monotonic(), seconds_left()
    preparing = [
        Preparing(Task(name, network, devices.cores(), plan.images), python)
        for name, python in ways(plan).items()
        for network in ALTERNATIVES[name].networks
    ]
    for each in preparing:
        each.thread.join(max(0, begun + limit / 2 - time.monotonic()))
    ready = sorted((each for each in preparing if each.compute(1)), key=lambda each: each.epochs[0].seconds)
    failed = [each for each in preparing if each not in ready]
    failed += [each for each in ready if not each.measure()]  # the fastest first, so that most are known soon
    for each in failed:
        print(f"{each.name} was not measured: {each.problem}")
    if ours := [each.name for each in failed if ALTERNATIVES[each.task.alternative].is_ours]:
        sys.exit(f"not measured: {', '.join(ours)}")
    others = set(names(plan)) - {each.task.alternative for each in preparing}
    without = f"; not here: {', '.join(sorted(others))}" if others else ""
    print(f"{len(preparing) - len(failed)} of {len(preparing)} ways, seconds an epoch and its validation{without}")


def names(plan: Plan) -> list[str]:
    """Return the names of the alternatives on the device."""
    if plan.is_trial:
        return [*plan.engines, BASELINE]
    others = [name for name, way in ALTERNATIVES.items() if way.device == plan.device and not way.is_ours]
    return [f"{engine}-{plan.device}" for engine in plan.engines] + others


def ways(plan: Plan) -> dict[str, Path]:
    """Return the alternatives whose libraries are here, each with a Python that has them."""
    found = {name: python_for(name, [Path(sys.executable), OTHERS]) for name in names(plan)}
    return {name: python for name, python in found.items() if python}


class Preparing:
    """An alternative that prepares in the background."""

    def __init__(self, task: Task, python: Path) -> None:
        self.task = task
        self._python = python
        self.name = f"{task.network} {task.alternative}"
        self.problem = "it was not ready in time"
        self.epochs: list[Measured] = []
        self._process: AlternativeProcess | None = None
        self.thread = threading.Thread(target=self._prepare, daemon=True)  # it may never be ready
        self.thread.start()

    def _prepare(self) -> None:
        try:
            self._process = AlternativeProcess(self.task, self._python)
        except SystemExit as error:
            self.problem = str(error)

    def compute(self, count: int) -> bool:
        """Compute more epochs; return whether it could."""
        if self._process is None:
            return False
        try:
            self.epochs += [self._process.epoch() for _ in range(count)]
        except SystemExit as error:
            self.problem = str(error)
            return False
        return True

    def measure(self) -> bool:
        """Compute epochs after the first one, and report them; return whether it could."""
        first = self.epochs[0]
        if not self.compute(FEWEST_EPOCHS if first.seconds > LONG else EPOCHS):
            return False
        seconds = [epoch.seconds for epoch in self.epochs[1:]]
        figure(
            self.name,
            seconds=round(statistics.median(seconds), 5),
            least=round(min(seconds), 5),
            most=round(max(seconds), 5),
            first=round(first.seconds, 3),
            prepared=round(self._process.prepare_seconds, 1),
            **({} if self.task.images else {"article_gpu": ARTICLE[self.task.network].gpu.epoch_seconds}),
            scores=[round(score, 5) for score in self.epochs[-1].scores.values()],
        )
        return True


if __name__ == "__main__":
    main()
