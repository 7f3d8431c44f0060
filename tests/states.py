"""The states of a checkout that tests begin with; each is made once, for all processes that run the tests."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.checkout import STAGES, Checkout


def convert(checkout: Checkout) -> None:
    checkout.run(task="GrayscaleFlat")


def train(checkout: Checkout) -> None:
    assert checkout.run() == dict.fromkeys(STAGES, "computed")


def train_as_scheduled(checkout: Checkout) -> None:
    checkout.python("-m", "tasks.scheduled", *checkout.flags(), timeout=120).check_returncode()


def train_from_seed_7(checkout: Checkout) -> None:
    checkout.run("--seed", "7")


def train_with_another_learning_rate(checkout: Checkout) -> None:
    checkout.run("--TrainCNN-learning-rate", "0.02")


def report_the_better_rate(checkout: Checkout) -> None:
    """Leave in ``worse.json`` the flags of the other rate, and how far its accuracy is below the one reported."""
    flags, drop = worse_than_reported(checkout)
    (checkout.folder / "worse.json").write_text(json.dumps({"flags": flags, "drop": drop}))


def worse_than_reported(
    checkout: Checkout,
    network: str = "CNN",
    task: str = "EvaluateCNN",
    rate: str = "TrainCNN",
    also: Sequence[str] = (),
) -> tuple[list[str], float]:
    """Publish the better report of two learning rates; return the flags of the other rate, and the drop to it."""
    known: dict[float, list[str]] = {}
    for value in ("0.05", "0.1", "0.2", "0.3", "0.5", "0.7", "1"):
        flags = [f"--{rate}-learning-rate", value, *also]
        checkout.run(*flags, task=task)
        known[checkout.accuracy(network)] = flags
        if len(known) == 2:
            worse, better = sorted(known)
            checkout.run(*known[better])
            return known[worse], better - worse
    raise AssertionError("every learning rate leads to the same accuracy")


STATES: dict[str, tuple[str, Callable[[Checkout], None]]] = {
    "converted": ("new", convert),
    "trained": ("new", train),
    "scheduled": ("new", train_as_scheduled),
    "two seeds": ("trained", train_from_seed_7),
    "better rate reported": ("trained", report_the_better_rate),
    "two learning rates": ("trained", train_with_another_learning_rate),
}
"""For each state but "new": the state before it, and what runs in that."""


class States:
    """Checkouts in these states, in a folder that the processes share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def shared(self, name: str) -> Checkout:
        """Return the one checkout in a state, for tests that change nothing in it."""
        place = self._folder / name.replace(" ", "-")
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                self._make(name, place)
        return Checkout(place)

    def copy(self, name: str, folder: Path) -> Checkout:
        """Return a checkout of the test's own in a state."""
        return self.shared(name).copy(folder)

    def _make(self, name: str, place: Path) -> None:
        half = place.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        if name == "new":
            Checkout.new(half)
        else:
            before, step = STATES[name]
            step(self.copy(before, half))
        half.rename(place)
