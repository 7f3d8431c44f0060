"""The kernels of the triton engine as its pinned Triton compiles them: no GPU is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[1]


def compiled(*arguments):
    """Return what `compiled_kernels` prints."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.compiled_kernels", *map(str, arguments)]
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


@pytest.mark.parametrize(
    ("name", "images", "launches"), [("mlp", 128, 3), ("mlp2", 128, 5), ("cnn", 128, 10), ("cnn", 2500, 10)]
)
def test_compiled_for_an_h100_no_kernel_spills_registers_or_loses_nan(name, images, launches):
    """For the launches of a step, and for the forward pass of an evaluation's 2500 images, which has other blocks.

    A multiprocessor has 65,536 registers: it holds two programs of each kernel, or more.
    """
    kernels = compiled(name, 90, images)
    assert len(kernels) == launches
    assert [kernel for kernel in kernels if kernel["stack"]] == []
    assert [kernel for kernel in kernels if kernel["registers"] * kernel["warps"] * 32 > 2**15] == []
    # That of the softmax may lose nan: exp(nan) keeps it. That of a pooling window looks for it.
    losing = {kernel["kernel"] for kernel in kernels if kernel["loses_nan"]}
    assert losing <= {"output.loss_and_gradients", "convolution.forward"}


@pytest.mark.parametrize("name", ["dropped borders", "one channel, even filters"])
def test_patches_of_one_channel_are_read_value_by_value(name):
    """They begin at odd addresses too, where a GPU reads no two values at once: "misaligned address"."""
    convolutions = [kernel for kernel in compiled(name, 90, 20) if kernel["kernel"] == "convolution.forward"]
    assert [kernel["widest_read"] for kernel in convolutions] == [1]


def test_shared_memory_of_a_small_gpu_is_enough():
    """CUDA's programming guide has 99 KB for a program on compute capability 8.6 and 8.9 in a table."""
    kernels = compiled("many inputs", 89)
    assert [kernel for kernel in kernels if kernel["shared"] > 99 * 1024] == []
