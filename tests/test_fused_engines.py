"""The engines of fused kernels against the rules in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.engines import reference
from pipeline.engines.engine import Examples, Training, load_engine
from pipeline.errors import EngineError
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.layers import tanh
from pipeline.networks.weights import draw_weights
from tests.available import triton_engine
from tests.fused_networks import NETWORKS, POOL, with_biases
from tests.small_networks import convolution, dense, pool, random_examples
from tests.small_networks import network as network_of

OF_NAN = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
"""Triton's interpreter computes with NumPy, which warns of nan."""


@pytest.fixture(params=["numba", "triton"])
def engine(request):
    return load_engine("numba", threads=2) if request.param == "numba" else triton_engine()


def silent(images):
    """Ignore the progress of an epoch."""


def train(engine, network, hyperparameters, weights, examples, *, epochs=1):
    """Return the losses and the weights."""
    trainer = engine.trainer(Training(network, hyperparameters, weights, examples, examples))
    losses = [trainer.train_epoch(silent) for _ in range(epochs)]
    return np.concatenate(losses), trainer.weights()


def one_step(engine, network, weights, examples):
    """Return loss and gradient of all examples as one minibatch."""
    hyperparameters = Hyperparameters(learning_rate=1, momentum=0, epochs=1, batch_size=len(examples))
    losses, moved = train(engine, network, hyperparameters, weights, examples)
    return losses[0], {name: weights[name] - moved[name] for name in weights}


def assert_follows_the_rules(engine, network, weights, examples, atol=2e-6):
    loss, gradients = one_step(engine, network, weights, examples)
    expected_loss, expected = reference.loss_and_gradients(network, weights, examples.images, examples.labels)
    assert loss == pytest.approx(expected_loss, abs=1e-6)
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=atol, err_msg=name)


class TestRules:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_loss_and_gradients(self, engine, name):
        network = NETWORKS[name]
        assert_follows_the_rules(engine, network, with_biases(network, 1), random_examples(network, 21, 2))

    @pytest.mark.parametrize("name", NETWORKS)
    def test_probabilities(self, engine, name):
        network = NETWORKS[name]
        weights, examples = with_biases(network, 3), random_examples(network, 37, 4)
        probabilities = engine.probabilities(network, weights, examples.images)
        expected = reference.probabilities(network, weights, examples.images)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_weights_are_returned_unchanged(self, engine, name):
        network = NETWORKS[name]
        weights, examples = with_biases(network, 5), random_examples(network, 3, 6)
        hyperparameters = Hyperparameters(learning_rate=0.1, momentum=0.9, epochs=1)
        trainer = engine.trainer(Training(network, hyperparameters, weights, examples, examples))
        returned = trainer.weights()
        assert list(returned) == list(network.weight_shapes)
        for weight, values in weights.items():
            np.testing.assert_array_equal(returned[weight], values)

    @pytest.mark.parametrize("name", ["one convolution", "dropped borders", "three channels", "three convolutions"])
    def test_every_tied_maximum_receives_the_whole_gradient(self, engine, name):
        """Flat images tie all windows of all layers; images of few whole numbers tie some."""
        network = NETWORKS[name]
        weights = {name: np.round(4 * values) / 4 for name, values in with_biases(network, 7).items()}
        generator = np.random.RandomState(8)
        flat = np.ones((16, *network.input_shape), np.float32)
        coarse = generator.randint(-1, 2, flat.shape).astype(np.float32)
        labels = generator.randint(0, network.classes, 32).astype(np.uint8)
        examples = Examples(np.concatenate([flat, coarse]), labels)
        assert_follows_the_rules(engine, network, weights, examples, atol=1e-5)

    @pytest.mark.parametrize("name", ["one hidden layer", "one convolution", "no pooling", "three channels"])
    def test_slope_of_the_rectifier_at_zero_is_one_half(self, engine, name):
        """Black images and biases of zero put every unit of the first layer exactly at zero."""
        network = NETWORKS[name]
        weights = draw_weights(network, 9)
        generator = np.random.RandomState(10)
        weights = {
            name: values if name.endswith("W") or name.startswith("layer1/") else values + np.float32(0.1)
            for name, values in weights.items()
        }
        images = np.zeros((20, *network.input_shape), np.float32)
        images[10:] = generator.uniform(-1, 1, images[10:].shape)
        labels = generator.randint(0, network.classes, 20).astype(np.uint8)
        assert_follows_the_rules(engine, network, weights, Examples(images, labels))

    def test_nesterov_momentum_over_minibatches(self, engine):
        """Minibatches come in file order, the last one is smaller, and the next epoch continues with the velocity."""
        network = NETWORKS["dropped borders"]
        weights, examples = with_biases(network, 11), random_examples(network, 50, 12)
        hyperparameters = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=2, batch_size=20)
        losses, moved = train(engine, network, hyperparameters, weights, examples, epochs=2)
        expected_losses, expected = reference.trained(network, hyperparameters, weights, examples)
        np.testing.assert_allclose(losses, expected_losses.ravel(), rtol=0, atol=1e-5)
        for name, values in expected.items():
            np.testing.assert_allclose(moved[name], values, rtol=0, atol=1e-5, err_msg=name)

    @pytest.mark.parametrize("name", ["three channels", "as many classes as labels can name"])
    def test_validation(self, engine, name):
        network = NETWORKS[name]
        weights, examples = with_biases(network, 13), random_examples(network, 70, 14)
        hyperparameters = Hyperparameters(learning_rate=0.1, momentum=0.9, epochs=1)
        trainer = engine.trainer(Training(network, hyperparameters, weights, examples, examples))
        found, expected = trainer.validate(), reference.validation(network, weights, examples)
        assert found.loss == pytest.approx(expected.loss, abs=1e-6)
        np.testing.assert_array_equal(found.confusion, expected.confusion)

    @OF_NAN
    def test_a_diverged_network_has_no_finite_loss(self, engine):
        network = NETWORKS["three convolutions"]
        weights = {name: values * np.float32(np.nan) for name, values in with_biases(network, 15).items()}
        loss, _ = one_step(engine, network, weights, random_examples(network, 5, 16))
        assert np.isnan(loss)

    @OF_NAN
    @pytest.mark.parametrize("position", [(0, 0), (0, 1), (1, 0), (1, 1)])
    @pytest.mark.parametrize("filters", [3, 17, 35, 70])
    def test_pooling_keeps_nan(self, engine, filters, position):
        """At every position of the window: otherwise a network that diverged would look sound."""
        network = network_of((1, 6, 6), convolution(filters, (1, 1)), POOL)
        images = random_examples(network, 3, 28).images
        images[1, 0, 2 + position[0], 4 + position[1]] = np.nan
        weights = with_biases(network, 29)
        probabilities = engine.probabilities(network, weights, images)
        assert np.isnan(probabilities).any(axis=1).tolist() == [False, True, False]

    def test_a_minibatch_larger_than_the_data_is_all_of_it(self, engine):
        """It needs no more memory either."""
        network = NETWORKS["three channels"]
        weights, examples = with_biases(network, 30), random_examples(network, 37, 31)
        hyperparameters = Hyperparameters(learning_rate=0.1, momentum=0.9, epochs=2, batch_size=10**12)
        losses, moved = train(engine, network, hyperparameters, weights, examples, epochs=2)
        expected_losses, expected = reference.trained(network, hyperparameters, weights, examples)
        np.testing.assert_allclose(losses, expected_losses.ravel(), rtol=0, atol=1e-5)
        for name, values in expected.items():
            np.testing.assert_allclose(moved[name], values, rtol=0, atol=1e-5, err_msg=name)


class TestRefusals:
    @pytest.mark.parametrize(
        ("network", "message"),
        [
            (network_of((4,), dense(3, tanh)), "layer 'layer1': the .* engine has no nonlinearity tanh"),
            (
                network_of((1, 9, 9), convolution(2, 3, stride=2)),
                r"layer 'layer1': .* convolution with stride \(2, 2\)",
            ),
            (
                network_of((1, 9, 9), convolution(2, 3, pad=1)),
                r"layer 'layer1': .* pad \(1, 1\)",
            ),
            (
                network_of((1, 9, 9), convolution(2, (3, 3)), pool(3)),
                r"layer 'layer2': .* pool_size \(3, 3\)",
            ),
            (
                network_of((1, 9, 9), convolution(2, (3, 3)), pool(2, stride=1)),
                r"layer 'layer2': .* stride \(1, 1\)",
            ),
            (network_of((1, 9, 9), POOL), "layer 'layer1': .* pooling except right after a convolution"),
            (network_of((1, 9, 9), convolution(2, (2, 2)), POOL, POOL), "layer 'layer3': .* right after a convolution"),
        ],
    )
    def test_a_layer_that_the_kernels_lack(self, engine, network, message):
        weights, examples = draw_weights(network, 0), random_examples(network, 2, 0)
        with pytest.raises(EngineError, match=message) as caught:
            one_step(engine, network, weights, examples)
        assert "--engine torch" in str(caught.value)

    def test_labels_beyond_the_classes(self, engine):
        """The kernels check no index and would write outside of their arrays."""
        network = NETWORKS["one convolution"]
        examples = random_examples(network, 4, 36)
        examples.labels[3] = 255
        with pytest.raises(EngineError, match=r"there is a label 255; .* labels are 0 to 2"):
            one_step(engine, network, draw_weights(network, 0), examples)

    def test_images_of_another_shape(self, engine):
        network = NETWORKS["one convolution"]
        examples = random_examples(NETWORKS["dropped borders"], 4, 37)
        with pytest.raises(EngineError, match=r"shape \(1, 10, 12\); this network takes \(1, 9, 7\)"):
            one_step(engine, network, draw_weights(network, 0), examples)
        with pytest.raises(EngineError, match="this network takes"):
            engine.probabilities(network, draw_weights(network, 0), examples.images)
