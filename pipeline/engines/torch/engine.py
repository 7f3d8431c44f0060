"""The ``torch`` engine: PyTorch, on CUDA and on the CPU.

`torch_layers` has the layers with their gradients, `torch_parameters` the weights and their update, and
`torch_minibatches` the way through the images, which on CUDA is one of graphs.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

# How long threads look for work before they sleep. Where another process needs a core, those that never sleep make
# training many times slower; where none does, those that sleep at once make it take twice as long, since waking up
# takes longer than most of a small network's operations. 30,000 looks take about a millisecond: half the time of
# 1,000 on a quiet machine, two thirds of that of the usual 300,000 on a busy one. GNU's OpenMP library reads this
# when PyTorch loads it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import torch
import torch.nn.functional as F  # noqa: N812, PyTorch's own name for it
from torch import Tensor

from pipeline.engines import devices
from pipeline.engines.engine import Engine, Examples
from pipeline.engines.torch.layers import Layers
from pipeline.engines.torch.minibatches import Compute, Minibatches, OneByOne, Replayed, cuda_graphs
from pipeline.engines.torch.parameters import TorchParameters
from pipeline.errors import DeviceError, SettingError
from pipeline.networks.arrays import CACHE_LINE, DoubleArray, FloatArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import Weights

COMPUTE_TYPES = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""What layers compute in, by the values of the setting ``precision``."""

EVALUATION_BATCH = {"cpu": 250, "cuda": 1000}
"""Images evaluated at once: enough to fill a device; on a CPU few enough for its caches."""


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for what is allocated next.

    Otherwise each step gives its activations back to the system and faults them in again, until glibc has seen
    something larger freed: 4,600 page faults a step in the first epoch of the article's CNN, and none with this.
    Both thresholds are the largest that glibc takes; another C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_mmap_threshold, m_trim_threshold = -3, -1
        mallopt(m_mmap_threshold, 32 * 2**20)
        mallopt(m_trim_threshold, 2**31 - 1)


_keep_freed_memory()


class TorchTrainer:
    """A network in training with PyTorch, its data on the device."""

    def __init__(
        self,
        network: Network,
        hyperparameters: Hyperparameters,
        train: Examples,
        valid: Examples,
        parameters: TorchParameters,
        device: str,
    ) -> None:
        self._hyperparameters = hyperparameters
        self._parameters = parameters
        self._layers = Layers(network, parameters)
        self._validated = len(valid)
        self._train = self._minibatches(
            self._step, train, hyperparameters.batch_size, device, results=1, changed=parameters.state()
        )
        self._valid = self._minibatches(self._loss_and_correct, valid, EVALUATION_BATCH[device], device, results=2)

    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        return self._train.compute(on_progress)[:, 0]

    def validate(self) -> tuple[float, float]:
        loss, correct = self._valid.compute(lambda _: None).sum(0) / self._validated
        return float(loss), float(correct)

    def weights(self) -> Weights:
        return self._parameters.weights()

    def velocity(self) -> Weights:
        return self._parameters.velocity()

    def close(self) -> None:
        """Let go of the data and of what was recorded on the device."""
        del self._train, self._valid

    def _minibatches(
        self,
        compute: Compute,
        examples: Examples,
        size: int,
        device: str,
        *,
        results: int,
        changed: Iterable[Tensor] = (),
    ) -> Minibatches:
        images = self._layers.laid_out(_aligned(examples.images).to(device))
        labels = torch.from_numpy(examples.labels.astype(np.int64)).to(device)
        if device == "cpu":
            return OneByOne(compute, images, labels, size)
        return Replayed(compute, images, labels, size, results=results, record=cuda_graphs(changed))

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss before the step."""
        loss = self._layers.learn(images, labels)
        self._parameters.update(self._hyperparameters.learning_rate, self._hyperparameters.momentum)
        return loss.unsqueeze(0)

    def _loss_and_correct(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the losses, and how many images are classified right."""
        logits = self._layers.logits(images)
        correct = (logits.argmax(1) == labels).sum()
        return torch.stack([F.cross_entropy(logits, labels, reduction="sum"), correct])


def _aligned(values: FloatArray) -> Tensor:
    """Return values as a tensor that begins where a cache line does, as PyTorch's own do.

    Of others the libraries for the CPU may add up the products in another order, so that a second run with the
    same values, elsewhere in memory, would not give the same bytes.
    """
    tensor = torch.from_numpy(values)
    return tensor if tensor.data_ptr() % CACHE_LINE == 0 else tensor.clone()


@dataclass(frozen=True)
class TorchEngine:
    """PyTorch as an `Engine`.

    Parameters
    ----------
    precision : {"float32", "tf32", "bf16"}
        What the layers compute in; weights, their update and the loss are float32 in any case. With "tf32" a GPU
        rounds what it multiplies to 10 bits after the point, with "bf16" all between the layers has 7.
    """

    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in COMPUTE_TYPES:
            *others, last = COMPUTE_TYPES
            raise SettingError(f"precision is {self.precision!r}; expected {', '.join(others)} or {last}.")

    def trainer(
        self,
        network: Network,
        hyperparameters: Hyperparameters,
        weights: Weights,
        train: Examples,
        valid: Examples,
        *,
        device: str,
        threads: int,
        velocity: Weights | None = None,
    ) -> TorchTrainer:
        self._prepare(device, threads)
        parameters = self._parameters(network, weights, velocity, device)
        return TorchTrainer(network, hyperparameters, train, valid, parameters, device)

    def probabilities(
        self, network: Network, weights: Weights, images: FloatArray, *, device: str, threads: int
    ) -> FloatArray:
        self._prepare(device, threads)
        layers = Layers(network, self._parameters(network, weights, None, device))
        parts = torch.split(_aligned(images), EVALUATION_BATCH[device])
        result: FloatArray = torch.cat(
            [torch.softmax(layers.logits(layers.laid_out(part.to(device))), 1).cpu() for part in parts]
        ).numpy()
        return result

    def exponentials(self, vector: FloatArray, repeats: int, *, device: str, threads: int) -> tuple[FloatArray, float]:
        self._prepare(device, threads)
        values = torch.from_numpy(vector).to(device)
        result = torch.exp(values)  # before the clock starts: its first use loads an operation onto the device
        _wait_for(device)
        start = time.perf_counter()
        for _ in range(repeats):
            torch.exp(values, out=result)
        _wait_for(device)
        seconds = time.perf_counter() - start
        return result.cpu().numpy(), seconds

    def first_wait(self) -> str | None:
        return None

    def facts(self) -> dict[str, Any]:
        return {}

    def device_name(self, device: str) -> str:
        if device == "cpu":
            return f"{devices.processor_name()}, {torch.backends.cpu.get_cpu_capability()}"
        _require_cuda()
        return torch.cuda.get_device_name()

    def _prepare(self, device: str, threads: int) -> None:
        """Set PyTorch to compute as this engine is set to, the same on each run."""
        torch.set_num_threads(threads)
        if device == "cuda":
            _require_cuda()
            torch.backends.cuda.matmul.allow_tf32 = self.precision == "tf32"
            torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
            torch.backends.cudnn.deterministic = True
        elif self.precision == "tf32":
            raise SettingError(
                "precision is tf32, which a GPU has and a CPU has not. On the CPU use --torch-precision float32."
            )

    def _parameters(self, network: Network, weights: Weights, velocity: Weights | None, device: str) -> TorchParameters:
        return TorchParameters(
            network, weights, velocity, device=torch.device(device), compute_type=COMPUTE_TYPES[self.precision]
        )


def _wait_for(device: str) -> None:
    """Wait until all that was asked of the device is done; a GPU computes while Python goes on."""
    if device == "cuda":
        torch.cuda.synchronize()


def _require_cuda() -> None:
    if not torch.cuda.is_available():
        build = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
        raise DeviceError(
            f"device is cuda, but PyTorch {torch.__version__} ({build}) finds no usable GPU. "
            "Look at what `nvidia-smi` says, or use --device cpu."
        )


ENGINE: Engine = TorchEngine()
