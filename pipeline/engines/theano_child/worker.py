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
        train, valid = ((arrays.pop(f"{part}/images"), arrays.pop(f"{part}/labels")) for part in ("train", "valid"))
        self._training = network.Training(**fields, weights=arrays, train=train, valid=valid)
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

    def probabilities(self, fields: Fields, arrays: Arrays) -> Reply:
        """Give the probability of each class for each image."""
        images = arrays.pop("images")
        return {}, {"probabilities": network.probabilities(fields["architecture"], arrays, images)}

    def exponentials(self, fields: Fields, arrays: Arrays) -> Reply:
        """Take exponentials, and tell on what and how long it took."""
        result, used, seconds = exponentials.exponentials(arrays["vector"], fields["repeats"])
        return {"used": used, "seconds": seconds}, {"result": result}
