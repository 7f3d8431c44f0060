"""Keras, as its guides show it, on the backend that the variable KERAS_BACKEND names."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from alternatives.work import Epoch, Scores, Work


def prepare(work: Work) -> Epoch:
    """Train with `Model.fit`."""
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(work.threads)
    keras.utils.set_random_seed(42)
    model = keras.Sequential(_mlp() if work.name == "mlp" else _cnn())
    model.compile(
        optimizer=keras.optimizers.SGD(work.how.learning_rate, work.how.momentum, nesterov=True),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    train, valid = (
        (np.moveaxis(part.images, 1, -1) if part.images.ndim == 4 else part.images, part.labels.astype(np.int32))
        for part in (work.train, work.valid)
    )

    def epoch() -> Scores:
        history = model.fit(
            *train, batch_size=work.how.batch_size, epochs=1, shuffle=False, validation_data=valid, verbose=0
        ).history
        return Scores(*(float(history[name][0]) for name in ("loss", "val_loss", "val_accuracy")))

    return epoch


def _mlp() -> list[layers.Layer]:
    return [layers.Input((1024,)), layers.Dense(100, "relu"), layers.Dense(10)]


def _cnn() -> list[layers.Layer]:
    return [
        layers.Input((32, 32, 1)),
        *(layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D()),
        *(layers.Conv2D(32, 2, activation="relu"), layers.MaxPooling2D()),
        *(layers.Conv2D(64, 2, activation="relu"), layers.MaxPooling2D()),
        *(layers.Flatten(), layers.Dense(200, "relu"), layers.Dense(10)),
    ]
