"""The numba engine against Theano's recorded steps, and against the rules in plain NumPy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines.engine import Examples, Training
from pipeline.engines.numba import worksharing
from pipeline.engines.numba.engine import ENGINE
from pipeline.errors import DeviceError, EngineError
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.layers import linear, tanh
from pipeline.networks.weights import draw_weights
from tests import reference
from tests.small_networks import convolution, dense, pool, random_examples
from tests.small_networks import network as network_of

ROOT = Path(__file__).parents[1]


def silent(images):
    """Ignore the progress of an epoch."""


def train(network, hyperparameters, weights, examples, *, threads=1, epochs=1):
    trainer = ENGINE(threads=threads).trainer(Training(network, hyperparameters, weights, examples, examples))
    losses = [trainer.train_epoch(silent) for _ in range(epochs)]
    return np.concatenate(losses), trainer.weights(), trainer


def one_step(network, weights, examples, threads=1):
    """Return loss and gradient of all examples as one minibatch."""
    hyperparameters = Hyperparameters(learning_rate=1, momentum=0, epochs=1, batch_size=len(examples))
    losses, moved, _ = train(network, hyperparameters, weights, examples, threads=threads)
    return losses[0], {name: weights[name] - moved[name] for name in weights}


class TestAgainstTheano:
    """The steps that Theano, Lasagne and nolearn took on the article's networks."""

    @pytest.fixture
    def start(self, golden):
        return draw_weights(golden.network, golden.seed)

    @pytest.mark.parametrize("threads", [1, 2, 3])
    def test_all_steps(self, golden, start, threads):
        losses, after, _ = train(golden.network, golden.hyperparameters, start, golden.examples, threads=threads)
        np.testing.assert_allclose(losses, golden.losses, rtol=0, atol=golden.loss_tolerance)
        for name, expected in golden.after_all_steps.items():
            np.testing.assert_allclose(after[name], expected, rtol=0, atol=10 * golden.loss_tolerance, err_msg=name)

    def test_first_step(self, golden, start):
        first = Examples(golden.examples.images[:128], golden.examples.labels[:128])
        _, after, _ = train(golden.network, golden.hyperparameters, start, first)
        for name, expected in golden.after_one_step.items():
            np.testing.assert_allclose(after[name], expected, rtol=0, atol=golden.loss_tolerance / 10, err_msg=name)

    def test_first_probabilities(self, golden, start):
        images = golden.examples.images[:128]
        probabilities = ENGINE(threads=2).probabilities(golden.network, start, images)
        np.testing.assert_allclose(probabilities, golden.first_probabilities, rtol=0, atol=1e-6)


POOL = pool((2, 2))

NETWORKS = {
    "softmax alone": network_of((7,)),
    "one hidden layer": network_of((33,), dense(17)),
    "wide and deep": network_of((50,), dense(130), dense(1), dense(64, linear), dense(3)),
    "an image into dense": network_of((3, 5, 4), dense(9)),
    "one convolution": network_of((1, 9, 7), convolution(3, (3, 3)), POOL),
    "dropped borders": network_of((1, 10, 12), convolution(5, (4, 2)), POOL, dense(6)),
    "three channels": network_of((3, 11, 9), convolution(20, (2, 3)), POOL, convolution(33, (2, 2)), POOL, dense(8)),
    "filters of one pixel": network_of((2, 6, 5), convolution(7, (1, 1)), POOL, convolution(4, (1, 1)), POOL),
    "filters of 5x5": network_of((3, 21, 18), convolution(4, (5, 5)), POOL, convolution(17, (5, 5)), POOL),
    "no pooling": network_of((3, 8, 9), convolution(6, (3, 3)), convolution(18, (2, 2)), dense(7)),
    "pooling now and then": network_of(
        (1, 15, 15), convolution(16, (2, 2)), convolution(3, (3, 3)), POOL, convolution(65, (2, 2))
    ),
    "linear convolutions": network_of(
        (2, 9, 9), convolution(4, (2, 2), nonlinearity=linear), POOL, convolution(4, (2, 2), nonlinearity=linear)
    ),
    "a filter as large as the image": network_of((2, 5, 4), convolution(9, (5, 4)), dense(6)),
    "narrow images": network_of((1, 12, 2), convolution(8, (1, 1)), POOL, convolution(5, (3, 1))),
    "as many classes as labels can name": network_of((1, 6, 6), convolution(7, (3, 3)), POOL, classes=256),
    "three convolutions": network_of(
        (1, 24, 23),
        convolution(16, (3, 3)),
        POOL,
        convolution(48, (2, 2)),
        POOL,
        convolution(96, (2, 2)),
        POOL,
        dense(40),
    ),
}


def with_biases(network, seed):
    """Draw weights as training does, with biases other than zero, so that the tests see them."""
    generator = np.random.RandomState(seed)
    weights = draw_weights(network, seed)
    return {
        name: generator.uniform(-0.2, 0.2, values.shape).astype(np.float32) if name.endswith("/b") else values
        for name, values in weights.items()
    }


def assert_follows_the_rules(network, weights, examples, threads=1, atol=2e-6):
    loss, gradients = one_step(network, weights, examples, threads)
    expected_loss, expected = reference.loss_and_gradients(network, weights, examples.images, examples.labels)
    assert loss == pytest.approx(expected_loss, abs=1e-6)
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=atol, err_msg=name)


class TestRules:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_loss_and_gradients(self, name):
        network = NETWORKS[name]
        assert_follows_the_rules(network, with_biases(network, 1), random_examples(network, 21, 2), threads=2)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_probabilities(self, name):
        network = NETWORKS[name]
        weights, examples = with_biases(network, 3), random_examples(network, 37, 4)
        probabilities = ENGINE(threads=2).probabilities(network, weights, examples.images)
        expected = reference.probabilities(network, weights, examples.images)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_weights_are_returned_unchanged(self, name):
        network = NETWORKS[name]
        weights, examples = with_biases(network, 5), random_examples(network, 3, 6)
        hyperparameters = Hyperparameters(learning_rate=0.1, momentum=0.9, epochs=1)
        trainer = ENGINE().trainer(Training(network, hyperparameters, weights, examples, examples))
        returned = trainer.weights()
        assert list(returned) == list(network.weight_shapes)
        for weight, values in weights.items():
            np.testing.assert_array_equal(returned[weight], values)

    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("name", ["one convolution", "dropped borders", "three channels", "three convolutions"])
    def test_every_tied_maximum_receives_the_whole_gradient(self, name, threads):
        """Flat images tie all windows of all layers; images of few whole numbers tie some."""
        network = NETWORKS[name]
        weights = {name: np.round(4 * values) / 4 for name, values in with_biases(network, 7).items()}
        generator = np.random.RandomState(8)
        flat = np.ones((16, *network.input_shape), np.float32)
        coarse = generator.randint(-1, 2, flat.shape).astype(np.float32)
        labels = generator.randint(0, network.classes, 32).astype(np.uint8)
        examples = Examples(np.concatenate([flat, coarse]), labels)
        assert_follows_the_rules(network, weights, examples, threads, atol=1e-5)

    @pytest.mark.parametrize("name", ["one hidden layer", "one convolution", "no pooling", "three channels"])
    def test_slope_of_the_rectifier_at_zero_is_one_half(self, name):
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
        assert_follows_the_rules(
            network, weights, Examples(images, generator.randint(0, network.classes, 20).astype(np.uint8))
        )

    def test_nesterov_momentum_over_minibatches(self):
        """Minibatches come in file order, the last one is smaller, and the next epoch continues with the velocity."""
        network = NETWORKS["dropped borders"]
        weights, examples = with_biases(network, 11), random_examples(network, 50, 12)
        hyperparameters = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=2, batch_size=20)
        losses, moved, _ = train(network, hyperparameters, weights, examples, threads=2, epochs=2)
        expected_losses, expected = reference.trained(network, hyperparameters, weights, examples)
        np.testing.assert_allclose(losses, expected_losses.ravel(), rtol=0, atol=1e-5)
        for name, values in expected.items():
            np.testing.assert_allclose(moved[name], values, rtol=0, atol=1e-5, err_msg=name)

    def test_the_velocity_of_a_dead_unit_ends_at_zero(self):
        """Not at the smallest numbers of float32, which slow processors down."""
        network = NETWORKS["one hidden layer"]
        weights, examples = with_biases(network, 34), random_examples(network, 30, 35)
        weights["layer1/b"][3] = -100
        hyperparameters = Hyperparameters(learning_rate=0.001, momentum=0.9, epochs=1, batch_size=1)
        velocity = {name: np.full_like(values, 1e-3) for name, values in weights.items()}
        trainer = ENGINE().trainer(Training(network, hyperparameters, weights, examples, examples, velocity))
        for _ in range(30):
            trainer.train_epoch(silent)
        dead = trainer.velocity()["layer1/W"][:, 3]
        assert dead.tolist() == [0] * len(dead)
        assert np.isfinite(trainer.validate()[0])

    def test_validation(self):
        network = NETWORKS["three channels"]
        weights, examples = with_biases(network, 13), random_examples(network, 70, 14)
        hyperparameters = Hyperparameters(learning_rate=0.1, momentum=0.9, epochs=1)
        trainer = ENGINE(threads=2).trainer(Training(network, hyperparameters, weights, examples, examples))
        loss, accuracy = trainer.validate()
        expected_loss, expected_accuracy = reference.loss_and_accuracy(network, weights, examples)
        assert loss == pytest.approx(expected_loss, abs=1e-6)
        assert accuracy == expected_accuracy

    def test_a_diverged_network_has_no_finite_loss(self):
        network = NETWORKS["three convolutions"]
        weights = {name: values * np.float32(np.nan) for name, values in with_biases(network, 15).items()}
        loss, _ = one_step(network, weights, random_examples(network, 5, 16))
        assert np.isnan(loss)

    @pytest.mark.parametrize("position", [(0, 0), (0, 1), (1, 0), (1, 1)])
    @pytest.mark.parametrize("filters", [3, 17, 35, 70])
    def test_pooling_keeps_nan(self, filters, position):
        """At every position of the window: otherwise a network that diverged would look sound."""
        network = network_of((1, 6, 6), convolution(filters, (1, 1)), POOL)
        images = random_examples(network, 3, 28).images
        images[1, 0, 2 + position[0], 4 + position[1]] = np.nan
        weights = with_biases(network, 29)
        probabilities = ENGINE().probabilities(network, weights, images)
        assert np.isnan(probabilities).any(axis=1).tolist() == [False, True, False]

    def test_a_minibatch_larger_than_the_data_is_all_of_it(self):
        """It needs no more memory either."""
        network = NETWORKS["three channels"]
        weights, examples = with_biases(network, 30), random_examples(network, 37, 31)
        hyperparameters = Hyperparameters(learning_rate=0.1, momentum=0.9, epochs=2, batch_size=10**12)
        losses, moved, _ = train(network, hyperparameters, weights, examples, threads=2, epochs=2)
        expected_losses, expected = reference.trained(network, hyperparameters, weights, examples)
        np.testing.assert_allclose(losses, expected_losses.ravel(), rtol=0, atol=1e-5)
        for name, values in expected.items():
            np.testing.assert_allclose(moved[name], values, rtol=0, atol=1e-5, err_msg=name)


class TestThreads:
    @pytest.mark.parametrize("name", ["wide and deep", "three channels", "no pooling"])
    @pytest.mark.parametrize("threads", [2, 3, 8, 40])
    def test_any_number_gives_the_same_bits(self, name, threads):
        network = NETWORKS[name]
        weights, examples = with_biases(network, 17), random_examples(network, 300, 18)
        hyperparameters = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=64)
        losses, expected, alone = train(network, hyperparameters, weights, examples, threads=1, epochs=2)
        for _ in range(2):
            again, moved, trainer = train(network, hyperparameters, weights, examples, threads=threads, epochs=2)
            np.testing.assert_array_equal(again, losses)
            assert trainer.validate() == alone.validate()
            for weight, values in expected.items():
                np.testing.assert_array_equal(moved[weight], values)

    @pytest.mark.parametrize(("threads", "least"), [(1, 10), (2, 1)])
    def test_progress_rises_to_all_images(self, threads, least):
        network = NETWORKS["one hidden layer"]
        examples = random_examples(network, 1000, 19)
        hyperparameters = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=64)
        trainer = ENGINE(threads=threads).trainer(
            Training(network, hyperparameters, with_biases(network, 20), examples, examples)
        )
        heard = []
        trainer.train_epoch(heard.append)
        assert heard == sorted(heard)
        assert heard[-1] == 1000
        assert len(heard) >= least

    def test_an_error_in_on_progress_ends_the_epoch(self):
        network = NETWORKS["one hidden layer"]
        examples = random_examples(network, 1000, 21)
        hyperparameters = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=64)
        trainer = ENGINE(threads=2).trainer(
            Training(network, hyperparameters, with_biases(network, 22), examples, examples)
        )

        def interrupt(images):
            raise KeyboardInterrupt(f"after {images} images")

        with pytest.raises(KeyboardInterrupt):
            trainer.train_epoch(interrupt)

    def test_an_error_in_another_thread_ends_the_epoch(self, monkeypatch):
        network = NETWORKS["one hidden layer"]
        examples = random_examples(network, 1000, 32)
        hyperparameters = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=64)
        trainer = ENGINE(threads=3).trainer(
            Training(network, hyperparameters, with_biases(network, 33), examples, examples)
        )
        compute = worksharing.train

        def fail_elsewhere(*arguments):
            if threading.current_thread() is not threading.main_thread():
                raise MemoryError("none left")
            compute(*arguments)

        monkeypatch.setattr(worksharing, "train", fail_elsewhere)
        with pytest.raises(MemoryError, match="none left"):
            trainer.train_epoch(silent)

    def test_the_images_are_not_changed(self):
        network = NETWORKS["three channels"]
        examples = random_examples(network, 40, 23)
        before = examples.images.copy()
        one_step(network, with_biases(network, 24), examples, threads=2)
        np.testing.assert_array_equal(examples.images, before)


class TestRefusals:
    @pytest.mark.parametrize(
        ("network", "message"),
        [
            (network_of((4,), dense(3, tanh)), "layer 'layer1': the numba engine has no nonlinearity tanh"),
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
    def test_a_layer_that_the_kernels_lack(self, network, message):
        weights, examples = draw_weights(network, 0), random_examples(network, 2, 0)
        with pytest.raises(EngineError, match=message) as caught:
            one_step(network, weights, examples)
        assert "--engine torch" in str(caught.value)

    def test_labels_beyond_the_classes(self):
        """The kernels check no index and would write outside of their arrays."""
        network = NETWORKS["one convolution"]
        examples = random_examples(network, 4, 36)
        examples.labels[3] = 255
        with pytest.raises(EngineError, match=r"there is a label 255; .* labels are 0 to 2"):
            one_step(network, draw_weights(network, 0), examples)

    def test_images_of_another_shape(self):
        network = NETWORKS["one convolution"]
        examples = random_examples(NETWORKS["dropped borders"], 4, 37)
        with pytest.raises(EngineError, match=r"shape \(1, 10, 12\); this network takes \(1, 9, 7\)"):
            one_step(network, draw_weights(network, 0), examples)
        with pytest.raises(EngineError, match="this network takes"):
            ENGINE().probabilities(network, draw_weights(network, 0), examples.images)

    def test_numba_with_compiling_disabled(self):
        program = "from pipeline.engines.numba.engine import ENGINE; ENGINE().device_name()"
        environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        assert "EngineError: NUMBA_DISABLE_JIT keeps Numba from compiling. Unset it" in done.stderr

    def test_device(self):
        with pytest.raises(DeviceError, match="--engine torch --device cuda"):
            ENGINE(device="cuda")


class TestDevice:
    def test_exponentials(self):
        vector = np.random.RandomState(25).uniform(-3, 3, 1001).astype(np.float32)
        for threads in (1, 3):
            result, seconds = ENGINE(threads=threads).exponentials(vector, 4)
            np.testing.assert_allclose(result, np.exp(vector), rtol=1e-6)
            assert seconds > 0

    def test_name(self):
        assert ENGINE().device_name().strip()


@pytest.mark.parametrize(
    ("where", "status"), [("behind", 0), ("before", 0), pytest.param("beyond", -signal.SIGSEGV, id="the guard itself")]
)
def test_the_kernels_touch_nothing_outside_of_their_arrays(where, status):
    command = [sys.executable, "-m", "tests.kernels_between_guards", where]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == status, done.stderr


PROGRAM = """
import numpy as np
from numba.core import event
from pipeline.networks.declaration import Network
from pipeline.engines.engine import Examples
from pipeline.engines.numba.engine import ENGINE
from pipeline.networks.weights import draw_weights
from pipeline.networks.declared import find_network
for name in ("mlp", "cnn"):
    network = Network.build(find_network(name).architecture, classes=10)
    compiled_before = ENGINE().first_wait() is None
    with event.install_recorder("numba:compile") as recorder:
        images = np.zeros((2, *network.input_shape), np.float32)
        probabilities = ENGINE().probabilities(network, draw_weights(network, 1), images)
    print(name, compiled_before, len(recorder.buffer), probabilities.shape)
"""


def test_compiled_once_for_all_networks_and_processes():
    """After one process has used the engine, no other process compiles."""
    one_step(
        NETWORKS["softmax alone"],
        with_biases(NETWORKS["softmax alone"], 26),
        random_examples(NETWORKS["softmax alone"], 2, 27),
    )
    ENGINE().probabilities(
        NETWORKS["softmax alone"], with_biases(NETWORKS["softmax alone"], 26), np.zeros((1, 7), np.float32)
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["mlp True 0 (2, 10)", "cnn True 0 (2, 10)"]
