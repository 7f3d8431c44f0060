"""What the engine can ask for."""

from __future__ import annotations

import math
import time
from typing import Any, Callable

import numpy as np

from . import exponentials, network
from .messages import Arrays

Fields = dict[str, Any]
Reply = tuple[Fields, Arrays]

PROGRESS_INTERVAL = 0.05  # seconds between two messages about progress


class Worker:
    """A method for each thing that can be asked: it takes a message's fields and arrays and answers with both."""

    def __init__(self, say: Callable[[Fields], None]) -> None:
        self._say = say

    def train(self, fields: Fields, arrays: Arrays) -> Reply:
        """Prepare a network for training; this is where Theano compiles."""
        weights, velocity, train, valid = (_part(name, arrays) for name in ("weights", "velocity", "train", "valid"))
        self._training = network.Training(
            **fields,
            weights=weights,
            velocity=velocity,
            train=(train["images"], train["labels"]),
            valid=(valid["images"], valid["labels"]),
        )
        return {}, {}

    def epoch(self, fields: Fields, arrays: Arrays) -> Reply:
        """Train for an epoch, telling the progress."""
        last = -math.inf

        def on_progress(done: int) -> None:
            nonlocal last
            if time.monotonic() - last >= PROGRESS_INTERVAL:
                last = time.monotonic()
                self._say({"progress": done})

        return {}, {"losses": np.array(self._training.epoch(on_progress))}

    def validation(self, fields: Fields, arrays: Arrays) -> Reply:
        """Tell the loss and the accuracy over the validation images."""
        loss, accuracy = self._training.validation()
        return {"loss": loss, "accuracy": accuracy}, {}

    def weights(self, fields: Fields, arrays: Arrays) -> Reply:
        """Give the weights as they are now."""
        return {}, self._training.weights()

    def velocity(self, fields: Fields, arrays: Arrays) -> Reply:
        """Give the velocity of each weight as it is now."""
        return {}, self._training.velocity()

    def probabilities(self, fields: Fields, arrays: Arrays) -> Reply:
        """Give the probability of each class for each image."""
        images = arrays.pop("images")
        return {}, {"probabilities": network.probabilities(fields["architecture"], arrays, images)}

    def exponentials(self, fields: Fields, arrays: Arrays) -> Reply:
        """Take exponentials, and tell on what and how long it took."""
        result, used, seconds = exponentials.exponentials(arrays["vector"], fields["repeats"])
        return {"used": used, "seconds": seconds}, {"result": result}


def _part(name: str, arrays: Arrays) -> Arrays:
    """Return the arrays whose names begin with this one, under the rest of their names."""
    return {full.partition("/")[2]: array for full, array in arrays.items() if full.partition("/")[0] == name}
