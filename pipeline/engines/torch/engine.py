"""PyTorch as an engine, on CUDA and on the CPU."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# How often a waiting thread looks for work before it sleeps. Threads that never sleep make training many times slower
# when another process needs a core. Threads that sleep at once make it take twice as long on a quiet machine, because
# waking up takes longer than most operations of a small network. 30,000 looks take about a millisecond: training takes
# half the time of 1,000 looks on a quiet machine, and two thirds of that of the default 300,000 on a busy one
# (bench/training.py). GNU's OpenMP library reads the variable when PyTorch loads it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import torch
from torch import Tensor

from pipeline.engines.cuda.exponentials import timed
from pipeline.engines.cuda.failures import explained
from pipeline.engines.cuda.graphs import Recorder, cuda_graphs
from pipeline.engines.cuda.memory import TensorTrainer, check_cuda
from pipeline.engines.cuda.validation import loss_and_confusion, result_count, validation
from pipeline.engines.engine import Engine, Examples, Training, Validation
from pipeline.engines.torch.layers import Layers
from pipeline.engines.torch.minibatches import Compute, Epoch, Replayed, direct
from pipeline.engines.torch.parameters import TorchParameters
from pipeline.errors import SettingError
from pipeline.networks.arrays import CACHE_LINE, DoubleArray, FloatArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import Weights

COMPUTE_TYPES = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""The type in which layers compute, by the values of the setting ``precision``."""

EVALUATION_BATCH = {"cpu": 250, "cuda": 1000}
"""Images evaluated at once: enough to keep a device busy, and on a CPU few enough for its caches."""


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory for later allocations.

    By default each step returns its activations to the system and faults them in again: 4,600 page faults a step in
    the first epoch of the article's CNN, and none with this setting. Both thresholds are the largest that glibc takes;
    other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_mmap_threshold, m_trim_threshold = -3, -1
        mallopt(m_mmap_threshold, 32 * 2**20)
        mallopt(m_trim_threshold, 2**31 - 1)


_keep_freed_memory()


def set_cuda_numerics(precision: str) -> None:
    """Have CUDA's libraries compute in a precision, and the same bytes each time.

    With `benchmark` cuDNN would time its algorithms and take the fastest, which need not be the same one in the next
    run. `deterministic` leaves out those that add in no fixed order.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


class TorchTrainer(TensorTrainer):
    """A network in training with PyTorch, with its data on the device.

    ``recorder`` makes a `Recorder` from the tensors that a step changes; without one, Python launches each operation.
    """

    def __init__(
        self,
        training: Training,
        device: str,
        compute_type: torch.dtype,
        recorder: Callable[[list[Tensor]], Recorder] | None,
    ) -> None:
        super().__init__(device)
        self._parameters = TorchParameters(training.network, training.weights, training.velocity, device, compute_type)
        layers, how = Layers(training.network, self._parameters), training.hyperparameters
        record = recorder(self._parameters.state()) if recorder else None

        def epoch(compute: Compute, examples: Examples, size: int, results: int) -> Epoch:
            images = layers.prepared(_aligned(examples.images).to(device))
            labels = torch.from_numpy(examples.labels.astype(np.int64)).to(device)
            if record is None:
                return direct(compute, images, labels, size)
            return Replayed(compute, images, labels, size, results=results, record=record)

        self._train = epoch(_step(layers, self._parameters, how), training.train, how.batch_size, results=1)
        self._valid = epoch(
            lambda images, labels: loss_and_confusion(layers.logits(images), labels),
            training.valid,
            EVALUATION_BATCH[device],
            results=result_count(training.network.classes),
        )

    @explained()
    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        return self._train(on_progress)[:, 0]

    @explained()
    def validate(self) -> Validation:
        return validation(self._valid(lambda _: None).sum(0))

    @explained()
    def weights(self) -> Weights:
        return self._parameters.copied(self._parameters.weights)

    @explained()
    def velocity(self) -> Weights:
        return self._parameters.copied(self._parameters.velocity)


def _step(layers: Layers, parameters: TorchParameters, how: Hyperparameters) -> Compute:
    def step(images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss before the step."""
        loss = layers.backpropagate(images, labels)
        parameters.update(how.learning_rate, how.momentum)
        return loss.unsqueeze(0)

    return step


def _aligned(values: FloatArray) -> Tensor:
    """Return values as a tensor that begins at a cache line, as PyTorch's own tensors do.

    For other addresses the libraries for the CPU may add up products in another order, and a second run with the same
    values would not give the same bytes.
    """
    tensor = torch.from_numpy(values)
    return tensor if tensor.data_ptr() % CACHE_LINE == 0 else tensor.clone()


@dataclass(frozen=True)
class TorchEngine(Engine):
    """The engine, with its setting.

    Parameters
    ----------
    precision : {"float32", "tf32", "bf16"}
        The type in which layers compute; weights, their update and the loss are always float32. "tf32" rounds factors
        to 10 bits after the point, on a GPU alone; "bf16" rounds all values between layers to 7 bits.
    """

    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in COMPUTE_TYPES:
            *others, last = COMPUTE_TYPES
            raise SettingError(f"precision is {self.precision!r}; expected {', '.join(others)} or {last}.")
        if self.device == "cpu" and self.precision == "tf32":
            raise SettingError("precision is tf32, which only a GPU has. On the CPU use --torch-precision float32.")
        if self.device == "cuda":
            check_cuda()

    @explained()
    def trainer(self, training: Training) -> TorchTrainer:
        self._prepare()
        recorder = cuda_graphs if self.device == "cuda" else None
        return TorchTrainer(training, self.device, COMPUTE_TYPES[self.precision], recorder)

    @explained()
    def probabilities(self, network: Network, weights: Weights, images: FloatArray) -> FloatArray:
        self._prepare()
        parameters = TorchParameters(network, weights, None, self.device, COMPUTE_TYPES[self.precision])
        layers = Layers(network, parameters)
        batches = torch.split(_aligned(images), EVALUATION_BATCH[self.device])
        logits = [layers.logits(layers.prepared(batch.to(self.device))) for batch in batches]
        result: FloatArray = torch.cat([torch.softmax(values, 1).cpu() for values in logits]).numpy()
        return result

    @explained()
    def exponentials(self, vector: FloatArray, repeats: int) -> tuple[FloatArray, float]:
        self._prepare()
        return timed(lambda values, results: torch.exp(values, out=results), vector, repeats, self.device)

    @explained()
    def device_name(self) -> str:
        if self.device == "cpu":
            return f"{super().device_name()}, {torch.backends.cpu.get_cpu_capability()}"
        return torch.cuda.get_device_name()

    def _prepare(self) -> None:
        torch.set_num_threads(self.threads)
        if self.device == "cuda":
            set_cuda_numerics(self.precision)


ENGINE = TorchEngine
