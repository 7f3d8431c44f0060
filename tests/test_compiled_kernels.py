"""The kernels of the triton engine as its pinned Triton compiles them: no GPU is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

from triton.runtime.errors import InterpreterError

from pipeline.engines import reference
from pipeline.engines.engine import Examples, Training
from pipeline.engines.triton.blocks import ON_GPU
from pipeline.networks.declaration import Hyperparameters
from tests.available import has_gpu, triton_engine
from tests.compiled_kernels import find
from tests.fused_networks import NETWORKS, with_biases
from tests.kernel_accesses import Accesses
from tests.small_networks import random_examples

FAST = ["wide and deep", "dropped borders"]
ROOT = Path(__file__).parents[1]


def compiled(*arguments):
    """Return what `compiled_kernels` prints."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.compiled_kernels", *map(str, arguments)]
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


@pytest.mark.parametrize(
    ("name", "images", "launches"), [("mlp", 128, 5), ("mlp2", 128, 8), ("cnn", 128, 15), ("cnn", 2500, 15)]
)
def test_compiled_for_an_h100_no_kernel_spills_registers_or_loses_nan(name, images, launches):
    """For the launches of a step and of a forward pass, also of an evaluation's 2500 images, which has other blocks.

    A multiprocessor has 65,536 registers: it holds two programs of each kernel, or more.
    """
    kernels = compiled(name, 90, images)
    assert len(kernels) == launches
    assert [kernel for kernel in kernels if kernel["stack"]] == []
    assert [kernel for kernel in kernels if kernel["registers"] * kernel["warps"] * 32 > 2**15] == []
    # That of the softmax may lose nan: exp(nan) keeps it. That of a pooling window looks for it.
    losing = {kernel["kernel"] for kernel in kernels if kernel["loses_nan"]}
    assert losing <= {"output.loss_and_gradients", "convolution.forward"}


def test_shared_memory_of_a_small_gpu_is_enough():
    """CUDA's programming guide has 99 KB for a program on compute capability 8.6 and 8.9 in a table."""
    kernels = compiled("many inputs", 89)
    assert [kernel for kernel in kernels if kernel["shared"] > 99 * 1024] == []


def assert_takes_nothing_wrong(name, monkeypatch, folder):
    """Train and evaluate in the interpreter, with a smaller minibatch at the end; compare accesses and results."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(folder))  # Triton does not see a changed `Shape`
    network = find(name)
    weights, examples = with_biases(network, 1), random_examples(network, 8, 2)
    valid = Examples(examples.images[:6], examples.labels[:6])
    how = Hyperparameters(learning_rate=0.05, momentum=0.9, epochs=1, batch_size=6)
    accesses = Accesses(compiled(name, 90, "6,2"))
    accesses.watch(monkeypatch)
    trainer = triton_engine(blocks=ON_GPU).trainer(Training(network, how, weights, examples, valid))
    losses = trainer.train_epoch(lambda _images: None)
    loss = trainer.validate().loss
    assert accesses.compiled == []
    (expected_losses,), expected = reference.trained(network, how, weights, examples)
    np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=1e-4)
    assert loss == pytest.approx(reference.validation(network, expected, valid).loss, abs=1e-4)
    for key, values in trainer.weights().items():
        np.testing.assert_allclose(values, expected[key], rtol=0, atol=2e-5, err_msg=key)


@pytest.mark.skipif(has_gpu(), reason="the interpreter is for machines without a GPU")
class TestAccesses:
    """Of each kernel to the GPU's memory: see `kernel_accesses`."""

    def test_one_that_is_not_compiled_is_found(self, monkeypatch):
        """So the interpreter does report what it takes."""
        network = NETWORKS["softmax alone"]
        accesses = Accesses([{"kernel": "dense.forward", "widths": {}}])
        accesses.watch(monkeypatch)
        weights, images = with_biases(network, 1), random_examples(network, 3, 2).images
        with pytest.raises(InterpreterError, match=r"dense\.forward: ld minibatches\.py:\d+ is not compiled"):
            triton_engine().probabilities(network, weights, images)

    @pytest.mark.parametrize("name", FAST)
    def test_of_some_networks(self, name, monkeypatch, tmp_path):
        assert_takes_nothing_wrong(name, monkeypatch, tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", [*(name for name in NETWORKS if name not in FAST), *map(str, range(50))])
    def test_of_the_others_and_of_random_ones(self, name, monkeypatch, tmp_path):
        """A number is the seed of a network."""
        assert_takes_nothing_wrong(name, monkeypatch, tmp_path)
