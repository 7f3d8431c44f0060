from __future__ import annotations

import numpy as np
import pytest

from pipeline.engines import reference
from pipeline.engines.engine import Examples
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.weights import draw_weights
from tests import small_networks


class TestAgainstTheano:
    """Theano computed in float32: in flat parts of an image its rounding breaks ties in another way than float64."""

    def test_probabilities(self, golden):
        drawn = draw_weights(golden.network, golden.seed)

        probabilities = reference.probabilities(golden.network, drawn, golden.examples.images[:128])

        assert np.abs(probabilities - golden.first_probabilities).max() < 1e-6

    def test_a_step(self, golden):
        first = Examples(golden.examples.images[:128], golden.examples.labels[:128])
        once = golden.hyperparameters.replaced(epochs=1)

        losses, after = reference.trained(golden.network, once, draw_weights(golden.network, golden.seed), first)

        assert losses.ravel() == pytest.approx(golden.losses[:1], abs=1e-6)
        for name, expected in golden.after_one_step.items():
            assert np.abs(after[name] - expected).max() < 1e-5, name


@pytest.mark.parametrize("name", small_networks.NETWORKS)
def test_gradients_are_the_slopes_of_the_loss(name):
    """In a random direction, by a central difference; the loss is smooth except at kinks."""
    network = small_networks.NETWORKS[name]
    before = {key: values.astype(float) for key, values in small_networks.random_weights(network, seed=1).items()}
    examples = small_networks.random_examples(network, 3, seed=2)
    direction = small_networks.random_weights(network, seed=3)

    def loss(step):
        moved = {key: values + step * direction[key] for key, values in before.items()}
        return reference.loss_and_gradients(network, moved, examples.images, examples.labels)[0]

    _, gradients = reference.loss_and_gradients(network, before, examples.images, examples.labels)

    slope = sum((gradients[key] * direction[key]).sum() for key in gradients)
    assert (loss(1e-6) - loss(-1e-6)) / 2e-6 == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_the_loss_of_an_impossible_label():
    """Its probability is 0 in float64; the loss is the distance of the logits."""
    assert reference.cross_entropy(np.array([[0.0, 2000.0]]), np.zeros(1, np.uint8)) == 2000


def test_momentum_by_hand():
    """One input x = 1 and two classes: dL/dW of the true class is p - 1."""
    network = small_networks.network((1,), classes=2)
    examples = Examples(np.ones((1, 1), np.float32), np.zeros(1, np.uint8))
    start = {"layer1/W": np.zeros((1, 2), np.float32), "layer1/b": np.zeros(2, np.float32)}
    how = Hyperparameters(learning_rate=0.5, momentum=0.5, epochs=2)

    _, after = reference.trained(network, how, start, examples)

    first_velocity = 0.25
    first = 0.5 * first_velocity + 0.25
    probability = 1 / (1 + np.exp(-4 * first))  # W and b, each plus and minus
    step = 0.5 * (1 - probability)
    velocity = 0.5 * first_velocity + step
    assert after["layer1/W"][0, 0] == pytest.approx(first + 0.5 * velocity + step)
