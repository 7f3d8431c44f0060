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
from pipeline.errors import DeviceError
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.weights import draw_weights
from tests.fused_networks import NETWORKS, with_biases
from tests.small_networks import random_examples

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


class TestOnTheCPU:
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
        assert np.isfinite(trainer.validate().loss)


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
            found, validation = trainer.validate(), alone.validate()
            assert found.loss == validation.loss
            np.testing.assert_array_equal(found.confusion, validation.confusion)
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


def test_the_kernels_for_processors_of_the_other_kind():
    """They follow the rules here, too, and touch nothing outside of their arrays."""
    command = [sys.executable, "-m", "tests.with_other_widths"]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
