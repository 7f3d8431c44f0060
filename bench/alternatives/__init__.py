"""Other ways to train the networks, a module for each library.

A function that a row of `ALTERNATIVES` names takes a `Work`, prepares everything that comes before the first epoch, and
returns a function that computes one epoch: a step on each minibatch of the training images in file order, with
Nesterov's momentum in float32, then loss and accuracy over the validation images. Each has a process of its own, so
that none shares the others' memory, threads or allocator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Alternative:
    """A way to train a network.

    Parameters
    ----------
    label : str
        Its name in the table.
    function : str
        ``module:function`` in this package.
    libraries : tuple of str
        Distributions that its Python must have, and that are named with their versions beside the results.
    networks : tuple of str
        The networks that it can train.
    arguments : dict
        The function's arguments besides the work.
    environment : dict
        Environment variables of its process.
    is_ours : bool
        Whether it is an engine of the pipeline.
    slow_start : bool
        Whether its first epoch waits so long, for a compiler, that it is measured only where it is asked for.
    """

    label: str
    function: str
    libraries: tuple[str, ...] = ()
    networks: tuple[str, ...] = ("mlp", "cnn")
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    is_ours: bool = False
    slow_start: bool = False

    @property
    def device(self) -> str:
        """The device on which it trains, ``cpu`` or ``cuda``."""
        return self.arguments.get("device", "cpu")


BASELINE = "dataloader"
"""The alternative that all others are compared with: PyTorch's tutorials train in this way."""

BEST_PYTORCH = {"mlp": "by-hand", "cnn": "tuned"}
"""The fastest alternative in eager PyTorch that was found for each network."""

ALTERNATIVES = {
    "numba": Alternative(
        "`numba` engine",
        "engines:prepare",
        ("numba",),
        arguments={"engine": "numba", "device": "cpu"},
        is_ours=True,
    ),
    "torch": Alternative(
        "`torch` engine",
        "engines:prepare",
        ("torch",),
        arguments={"engine": "torch", "device": "cpu"},
        is_ours=True,
    ),
    "torch-cuda": Alternative(
        "`torch` engine, CUDA",
        "engines:prepare",
        ("torch",),
        arguments={"engine": "torch", "device": "cuda"},
        is_ours=True,
    ),
    "triton-cuda": Alternative(
        "`triton` engine, CUDA",
        "engines:prepare",
        ("torch", "triton"),
        arguments={"engine": "triton", "device": "cuda"},
        is_ours=True,
    ),
    "torch-cuda-ungraphed": Alternative(
        "`torch` engine, CUDA, each operation launched by Python",
        "engines:ungraphed",
        ("torch",),
        arguments={"device": "cuda"},
    ),
    "theano": Alternative(
        "`theano` engine",
        "engines:prepare",
        arguments={"engine": "theano", "device": "cpu"},
        is_ours=True,
    ),
    "dataloader": Alternative("PyTorch, DataLoader", "pytorch:dataloader", ("torch",)),
    "tensors": Alternative("PyTorch, tensors in memory", "pytorch:tensors", ("torch",)),
    "tuned": Alternative("PyTorch, tuned", "pytorch:tuned", ("torch",), networks=("cnn",)),
    "by-hand": Alternative("PyTorch, gradients by hand", "pytorch:by_hand", ("torch",), networks=("mlp",)),
    "compiled": Alternative(
        "PyTorch, tuned and compiled", "pytorch:compiled", ("torch",), networks=("cnn",), slow_start=True
    ),
    "dataloader-cuda": Alternative(
        "PyTorch, DataLoader, CUDA", "pytorch:dataloader", ("torch",), arguments={"device": "cuda"}
    ),
    "tensors-cuda": Alternative(
        "PyTorch, tensors on the GPU", "pytorch:tensors", ("torch",), arguments={"device": "cuda"}
    ),
    "compiled-cuda": Alternative(
        "PyTorch, compiled into a CUDA graph",
        "pytorch:compiled",
        ("torch", "triton"),
        arguments={"device": "cuda"},
        slow_start=True,
    ),
    "sklearn": Alternative("scikit-learn, MLPClassifier", "scikit_learn:prepare", ("scikit-learn",), networks=("mlp",)),
    "jax": Alternative("JAX, epoch in one scan", "jax:prepare", ("jax",)),
    "jax-cuda": Alternative(
        "JAX, epoch in one scan, CUDA",
        "jax:prepare",
        ("jax",),
        arguments={"device": "cuda"},
        environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    ),
    "keras-jax": Alternative("Keras on JAX", "keras:prepare", ("keras", "jax"), environment={"KERAS_BACKEND": "jax"}),
    "keras-torch": Alternative(
        "Keras on PyTorch", "keras:prepare", ("keras", "torch"), environment={"KERAS_BACKEND": "torch"}
    ),
}
"""Every alternative by the name that ``--only`` takes."""
