"""Images of one grey, in which every patch is equal: an engine whose sums of equal patches differ breaks ties."""

from __future__ import annotations

import math

import numpy as np

from pipeline.engines.engine import Examples, Training
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.layers import linear
from tests import small_networks
from tests.small_networks import convolution, pool

ARTICLE = [((1, 32, 32), 16, 3), ((16, 15, 15), 32, 2), ((32, 7, 7), 64, 2)]
"""Shape of the images, number of filters and filter size of each convolution of the article's CNN."""

UNITS = np.float32([-1e-3, 1e-3, 1e-3])
"""The weight of every window for each class: no terms cancel for images of class 0, so that rounding stays small."""


def tied_positions(engine, shape, filters, size, window, images=128):
    """Take a step on flat images through a convolution and pooling; return the tied positions an image and a filter.

    The units behind the pooling weigh every window alike, so a filter's bias has the gradient of one position as
    often as positions are tied for the maximum of their window.
    """
    network = small_networks.network(shape, convolution(filters, (size, size), nonlinearity=linear), pool(window))
    start = small_networks.random_weights(network, seed=1)
    start["layer3/W"][:] = UNITS
    examples = flat_examples(shape, images)
    trainer = engine.trainer(Training(network, Hyperparameters(1, 0, 1, images), start, examples, examples))
    trainer.train_epoch(lambda _: None)
    errors = engine.probabilities(network, start, examples.images).astype(float) - np.eye(3)[examples.labels]
    of_one_position = -(errors.mean(0) @ UNITS)
    return trainer.velocity()["layer1/b"] / of_one_position


def positions(shape, size, window):
    """Count the positions of a convolution's output that belong to a window of the pooling behind it."""
    return math.prod(
        (length - size + 1) // of_window * of_window for length, of_window in zip(shape[1:], window, strict=True)
    )


def flat_examples(shape, count):
    """Return images with one value for each channel, all of class 0."""
    generator = np.random.default_rng(1)
    greys = generator.random((count, shape[0], 1, 1), np.float32) - np.float32(0.5)
    images = np.ascontiguousarray(np.broadcast_to(greys, (count, *shape)))
    return Examples(images, np.zeros(count, np.uint8))
