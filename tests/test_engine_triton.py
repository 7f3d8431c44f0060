"""The triton engine against recorded steps and the torch engine: on a GPU, or else in Triton's interpreter."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

from triton import OutOfResources
from triton.runtime.build import compile_module_from_src
from triton.runtime.errors import PTXASError

from pipeline.engines import reference
from pipeline.engines.engine import Examples, Training, load_engine
from pipeline.engines.triton.blocks import ON_GPU
from pipeline.engines.triton.failures import explained
from pipeline.errors import DeviceError, EngineError, SettingError
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.weights import draw_weights
from tests.available import has_gpu, triton_engine
from tests.fused_networks import NETWORKS, with_biases
from tests.small_networks import network as network_of
from tests.small_networks import random_examples, whole_examples, whole_weights

ROOT = Path(__file__).parents[1]


def silent(images):
    """Ignore the progress of an epoch."""


def trained(engine, training, epochs=1):
    """Return the losses of all steps, the weights and the velocities."""
    trainer = engine.trainer(training)
    losses = np.concatenate([trainer.train_epoch(silent) for _ in range(epochs)])
    return losses, trainer.weights(), trainer.velocity()


def assert_close(found, expected, tolerance):
    """Compare weights or velocities."""
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=name)


def first_images(golden, count):
    return Examples(golden.examples.images[:count], golden.examples.labels[:count])


class TestAgainstTheano:
    """The steps that Theano, Lasagne and nolearn took on the article's networks."""

    @pytest.fixture
    def start(self, golden):
        return draw_weights(golden.network, golden.seed)

    def test_first_probabilities(self, golden, start):
        probabilities = triton_engine().probabilities(golden.network, start, golden.examples.images[:128])
        np.testing.assert_allclose(probabilities, golden.first_probabilities, rtol=0, atol=1e-6)

    def test_first_step(self, golden, start):
        """NumPy's products, with which the interpreter computes, break ties in flat parts of an image."""
        first = first_images(golden, 128)
        training = Training(golden.network, golden.hyperparameters, start, first, first)
        losses, after, _ = trained(triton_engine(), training)
        np.testing.assert_allclose(losses, golden.losses[:1], rtol=0, atol=1e-6)
        tolerance = golden.loss_tolerance / 10 if has_gpu() or golden.name == "mlp" else 1e-3
        assert_close(after, golden.after_one_step, tolerance)

    @pytest.mark.skipif(not has_gpu(), reason="takes minutes in Triton's interpreter")
    def test_all_steps(self, golden, start):
        training = Training(golden.network, golden.hyperparameters, start, golden.examples, golden.examples)
        losses, after, _ = trained(triton_engine(), training)
        np.testing.assert_allclose(losses, golden.losses, rtol=0, atol=golden.loss_tolerance)
        assert_close(after, golden.after_all_steps, 10 * golden.loss_tolerance)


@pytest.mark.parametrize("images", [1, 37])
def test_steps_equal_those_of_the_torch_engine(golden, images):
    """On images with noise, in which no maximum is tied."""
    first = first_images(golden, images)
    noise = np.random.RandomState(1).uniform(-0.1, 0.1, first.images.shape).astype(np.float32)
    first = Examples(first.images + noise, first.labels)
    how = golden.hyperparameters.replaced(batch_size=16)
    training = Training(golden.network, how, draw_weights(golden.network, 2), first, first)
    losses, after, velocity = trained(triton_engine(), training)
    expected_losses, expected, expected_velocity = trained(load_engine("torch"), training)
    np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=1e-6)
    assert_close(after, expected, 2e-7)
    assert_close(velocity, expected_velocity, 2e-7)


@pytest.mark.parametrize(
    "name",
    [
        "one hidden layer",
        "wide and deep",
        "dropped borders",
        "linear convolutions",
        "more channels and filters than a block",
    ],
)
def test_the_blocks_of_a_gpu(name):
    """Whole numbers tie maxima, and put many units exactly at 0; float32 sums them exactly.

    In the interpreter's own blocks a convolution has one block of channels and one of filters.
    """
    network = NETWORKS[name]
    weights, examples = whole_weights(network, 3), whole_examples(network, 9, 4)
    weights[f"{network.layers[-1].name}/b"] += 100  # exp() of it is infinite in float32
    how = Hyperparameters(learning_rate=1, momentum=0, epochs=1, batch_size=9)
    losses, after, _ = trained(triton_engine(blocks=ON_GPU), Training(network, how, weights, examples, examples))
    expected_loss, expected = reference.loss_and_gradients(network, weights, examples.images, examples.labels)
    assert losses == pytest.approx([expected_loss], rel=1e-6)
    for key, gradient in expected.items():
        np.testing.assert_allclose(weights[key] - after[key], gradient, rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["softmax alone", "one hidden layer", "dropped borders"])
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_minibatches_of_any_size(name, batch_size):
    network = NETWORKS[name]
    weights, examples = with_biases(network, 5), random_examples(network, 4, 6)
    how = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=2, batch_size=batch_size)
    losses, after, _ = trained(triton_engine(), Training(network, how, weights, examples, examples), epochs=2)
    expected_losses, expected = reference.trained(network, how, weights, examples)
    np.testing.assert_allclose(losses, expected_losses.ravel(), rtol=0, atol=1e-5)
    assert_close(after, expected, 1e-5)


def test_a_gradient_in_many_parts():
    """Each 16 images are a part of the last layer's; 32 parts are added at once."""
    network = NETWORKS["softmax alone"]
    weights, examples = with_biases(network, 16), random_examples(network, 600, 17)
    how = Hyperparameters(learning_rate=1, momentum=0, epochs=1, batch_size=600)
    _, after, _ = trained(triton_engine(), Training(network, how, weights, examples, examples))
    _, expected = reference.loss_and_gradients(network, weights, examples.images, examples.labels)
    for key, gradient in expected.items():
        np.testing.assert_allclose(weights[key] - after[key], gradient, rtol=1e-4, atol=1e-6, err_msg=key)


def test_a_last_minibatch_in_more_parts_than_the_others():
    """For its own number of images the last minibatch would have more parts than the largest one has room for."""
    network = NETWORKS["dropped borders"]
    weights, examples = with_biases(network, 14), random_examples(network, 20, 15)
    how = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=12)
    engine = triton_engine(blocks=replace(triton_engine().blocks, weight_programs=8))
    losses, after, _ = trained(engine, Training(network, how, weights, examples, examples))
    expected_losses, expected = reference.trained(network, how, weights, examples)
    np.testing.assert_allclose(losses, expected_losses.ravel(), rtol=0, atol=1e-5)
    assert_close(after, expected, 1e-5)


def test_a_resumed_training_gives_the_same_bits():
    network = NETWORKS["dropped borders"]
    examples = random_examples(network, 20, 7)
    how = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=2, batch_size=8)
    start = with_biases(network, 8)
    _, weights, velocity = trained(triton_engine(), Training(network, how, start, examples, examples))
    resumed = trained(triton_engine(), Training(network, how, weights, examples, examples, velocity))
    losses, *uninterrupted = trained(triton_engine(), Training(network, how, start, examples, examples), epochs=2)
    np.testing.assert_array_equal(losses[3:], resumed[0])
    for found, expected in zip(resumed[1:], uninterrupted, strict=True):
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


def test_no_images_have_no_probabilities():
    network = NETWORKS["dropped borders"]
    images = np.zeros((0, *network.input_shape), np.float32)
    assert triton_engine().probabilities(network, with_biases(network, 9), images).shape == (0, network.classes)


def test_a_trainer_dies_with_its_last_reference():
    """Its memory is a GPU's, which another process may wait for."""
    network = NETWORKS["one hidden layer"]
    examples = random_examples(network, 4, 10)
    how = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1)
    gc.disable()
    try:
        trainer = triton_engine().trainer(Training(network, how, with_biases(network, 11), examples, examples))
        trainer.train_epoch(silent)
        there = weakref.ref(trainer)
        del trainer
        assert there() is None
    finally:
        gc.enable()


def test_validation_needs_no_room_for_gradients():
    """2500 images have 157 parts of the last layer's gradient, here 2,157 million values; a minibatch has one part."""
    network = network_of((53670,), classes=256)
    train, valid = (Examples(np.zeros((n, 53670), np.float32), np.zeros(n, np.uint8)) for n in (1, 2500))
    weights = {name: np.zeros(shape, np.float32) for name, shape in network.weight_shapes.items()}
    how = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=1)
    triton_engine().trainer(Training(network, how, weights, train, valid))


def test_exponentials():
    vector = np.random.RandomState(12).uniform(-3, 3, 1001).astype(np.float32)
    result, seconds = triton_engine().exponentials(vector, 4)
    np.testing.assert_allclose(result, np.exp(vector), rtol=1e-6)
    assert seconds > 0


class TestCache:
    def folders(self, chosen):
        """Return what two processes call the folder, twice; the second one has the first one's environment."""
        program = """if True:
            import subprocess, sys
            from pipeline.engines.triton import cache
            for _ in range(2):
                print(cache.use_folder(), flush=True)
            if len(sys.argv) == 2:
                subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
            """
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_CACHE_DIR"}
        environment |= {"PYTHONPATH": str(ROOT)} | ({"TRITON_CACHE_DIR": chosen} if chosen else {})
        command = [sys.executable, "-c", program, program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [Path(line) for line in done.stdout.splitlines()]

    @pytest.mark.parametrize("is_chosen", [True, False])
    def test_is_one_folder(self, tmp_path, is_chosen):
        """Triton copies its setting to the environment, where the next call finds it."""
        folders = self.folders(str(tmp_path) if is_chosen else "")
        assert folders == [folders[0]] * 4
        assert folders[0].parent == (tmp_path if is_chosen else ROOT / ".cache" / "triton")

    def test_that_cannot_be_written(self):
        """Nobody can write there, not even root."""
        folder = self.folders("/proc/kernels")[0]
        assert folder.name.startswith("triton-")
        assert not folder.exists()  # the process has ended


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (
                OutOfResources(102400, 101376, "shared memory"),
                r"^a kernel .* needs 102,400 bytes of shared memory, and this GPU has 101,376\. Use --engine torch\.$",
            ),
            (
                PTXASError("no such GPU.\nRepro command: ptxas"),
                r"^Triton cannot compile a kernel: PTXAS error: no such GPU\. Use --engine torch\.$",
            ),
            (
                RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
                r"^the GPU failed: Triton Error \[CUDA\]: an illegal memory access was encountered\. Look at ",
            ),
        ],
    )
    def test_of_a_gpu(self, error, message):
        with pytest.raises(EngineError, match=message), explained():
            raise error

    def test_of_a_c_compiler(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CC", "false")
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
        message = r"^Triton cannot compile its launcher: false ended with status 1; .* another C compiler in CC, or "
        with pytest.raises(EngineError, match=message), explained():
            compile_module_from_src("", "launcher")


class TestRefusals:
    def test_a_precision_that_is_none(self):
        with pytest.raises(SettingError, match="precision is 'tf32'; expected ieee or tf32x3"):
            triton_engine(precision="tf32")

    @pytest.mark.skipif(has_gpu(), reason="there is a GPU")
    def test_cuda_in_the_interpreter(self):
        with pytest.raises(DeviceError, match="TRITON_INTERPRET is set"):
            load_engine("triton", "cuda")

    def test_the_cpu_without_the_interpreter(self):
        program = "from pipeline.engines.engine import load_engine; load_engine('triton', 'cpu')"
        environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
        environment["PYTHONPATH"] = str(ROOT)
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        assert "DeviceError: the triton engine computes on CUDA, not on 'cpu'. Use --engine numba" in done.stderr

    def test_minibatches_beyond_32_bits(self):
        """The labels and images are views of one number, so that they need no memory."""
        network = NETWORKS["as many classes as labels can name"]
        images = np.broadcast_to(np.float32(0), (2**24, *network.input_shape))
        examples = Examples(images, np.broadcast_to(np.uint8(0), 2**24))
        how = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=2**24)
        with pytest.raises(EngineError, match=r"16,777,216 images has 68,719,476,736 values .* at most 524,283 im"):
            triton_engine().trainer(Training(network, how, draw_weights(network, 0), examples, examples))

    def test_gradients_beyond_32_bits(self):
        """Each 16 images have a part of the last layer's gradient."""
        network = network_of((1024,), classes=256)
        examples = Examples(np.zeros((2**17, 1024), np.float32), np.zeros(2**17, np.uint8))  # nobody touches its pages
        how = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=2**17)
        with pytest.raises(EngineError, match=r"131,072 images have 2,1[0-9,]* values; .* reach 2,147,467,263"):
            triton_engine().trainer(Training(network, how, draw_weights(network, 0), examples, examples))
