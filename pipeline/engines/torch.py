"""The ``torch`` engine: PyTorch, on CUDA and on the CPU.

PyTorch's own pooling gives a tied maximum's gradient to one position and its ReLU has slope 0 at 0;
the article's libraries do otherwise, and so does this engine: see `_MaxPool` and `_rectify`.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

# Threads that wait in a loop make training many times slower as soon as another process needs a core.
# The OpenMP library reads this when PyTorch loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn.functional as F  # noqa: N812, PyTorch's own name for it
from torch import Tensor

from pipeline import devices
from pipeline.declaration import Hyperparameters, NamedLayer, Network
from pipeline.engines import Engine, Examples
from pipeline.errors import DeviceError, EngineError
from pipeline.layers import Conv2DLayer, DenseLayer, MaxPool2DLayer, Nonlinearity, Pair
from pipeline.weights import FloatArray, Weights

EVALUATION_BATCH = 1000
"""Images evaluated at once: enough to fill a device, few enough for their activations to fit anywhere."""


class _MaxPool(torch.autograd.Function):
    """Maximum of each window; every position that equals it receives the whole gradient, as in Theano."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, size: Pair, stride: Pair) -> Tensor:
        pooled = functools.reduce(torch.maximum, _windows(images, size, stride))
        ctx.save_for_backward(images, pooled)
        ctx.geometry = size, stride
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        images, pooled = ctx.saved_tensors
        result = torch.zeros_like(images)
        for values, target in zip(_windows(images, *ctx.geometry), _windows(result, *ctx.geometry), strict=True):
            target.addcmul_(gradient, values == pooled)
        return result, None, None


def _windows(images: Tensor, size: Pair, stride: Pair) -> Iterator[Tensor]:
    """Yield a view of the images for each place in a window, each shaped like the pooled result."""
    height, width = images.shape[2:]
    rows, columns = (height - size[0]) // stride[0] + 1, (width - size[1]) // stride[1] + 1
    for row, column in itertools.product(range(size[0]), range(size[1])):
        yield images[
            :,
            :,
            row : row + stride[0] * (rows - 1) + 1 : stride[0],
            column : column + stride[1] * (columns - 1) + 1 : stride[1],
        ]


def _rectify(values: Tensor) -> Tensor:
    """(x + abs(x)) / 2, whose slope at exactly 0 is one half, as in Lasagne on Theano."""
    return (values + values.abs()) * 0.5


_NONLINEARITIES: dict[Nonlinearity, Callable[[Tensor], Tensor]] = {
    Nonlinearity.linear: lambda values: values,
    Nonlinearity.rectify: _rectify,
    Nonlinearity.sigmoid: torch.sigmoid,
    Nonlinearity.softmax: lambda logits: logits,  # the loss takes it, together with the logarithm
    Nonlinearity.tanh: torch.tanh,
}

Operation = Callable[[dict[str, Tensor], Tensor], Tensor]


def _convolve(name: str, layer: Conv2DLayer, weights: dict[str, Tensor], values: Tensor) -> Tensor:
    return F.conv2d(values, weights[f"{name}/W"], weights[f"{name}/b"], layer.stride, layer.pad)


def _dense(name: str, weights: dict[str, Tensor], values: Tensor) -> Tensor:
    return torch.addmm(weights[f"{name}/b"], values.flatten(1), weights[f"{name}/W"])


def _pool(layer: MaxPool2DLayer, _: dict[str, Tensor], values: Tensor) -> Tensor:
    pooled: Tensor = _MaxPool.apply(values, layer.pool_size, layer.stride or layer.pool_size)  # type: ignore[no-untyped-call]
    return pooled


def _activate(nonlinearity: Nonlinearity, _: dict[str, Tensor], values: Tensor) -> Tensor:
    return _NONLINEARITIES[nonlinearity](values)


def _operations(network: Network) -> list[Operation]:
    """Return what the network does to the images, up to its softmax.

    A rectifier in front of a pooling layer is moved behind it: the largest of the rectified values is
    the rectified largest value, the gradients are the same, and it has a quarter of the values to do.
    """
    operations = [operation for entry in network.layers[1:] for operation in _layer_operations(entry)]
    for index, (first, second) in enumerate(itertools.pairwise(operations)):
        if first.args == (Nonlinearity.rectify,) and second.func is _pool:
            operations[index : index + 2] = [second, first]
    return list(operations)


def _layer_operations(entry: NamedLayer) -> list[functools.partial[Tensor]]:
    match entry.layer:
        case Conv2DLayer() as layer:
            convolve = functools.partial(_convolve, entry.name, layer)
            return [convolve, functools.partial(_activate, layer.nonlinearity)]
        case DenseLayer() as layer:
            return [functools.partial(_dense, entry.name), functools.partial(_activate, layer.nonlinearity)]
        case MaxPool2DLayer() as layer:
            return [functools.partial(_pool, layer)]
        case layer:
            raise EngineError(f"layer {entry.name!r}: the torch engine does not know {type(layer).__name__}.")


def _logits(operations: list[Operation], weights: dict[str, Tensor], images: Tensor) -> Tensor:
    for operation in operations:
        images = operation(weights, images)
    return images


def _to_device(network: Network, weights: Weights, device: torch.device) -> dict[str, Tensor]:
    """Copy weights to the device; PyTorch correlates, so that the filters of a true convolution are flipped."""
    return {name: _flipped(torch.tensor(weights[name], device=device)) for name in network.weight_shapes}


def _flipped(weights: Tensor) -> Tensor:
    is_filters = weights.ndim == 4
    return weights.flip(2, 3).contiguous(memory_format=torch.channels_last) if is_filters else weights


class TorchTrainer:
    """A network in training with PyTorch, its data on the device."""

    def __init__(
        self,
        network: Network,
        hyperparameters: Hyperparameters,
        weights: Weights,
        train: Examples,
        valid: Examples,
        device: torch.device,
    ) -> None:
        self._operations = _operations(network)
        self._weights = _to_device(network, weights, device)
        for parameter in self._weights.values():
            parameter.requires_grad_()
        self._optimizer = torch.optim.SGD(
            self._weights.values(),
            hyperparameters.learning_rate,
            hyperparameters.momentum,
            nesterov=hyperparameters.momentum > 0,  # PyTorch refuses it with 0, where it changes nothing
        )
        self._batch_size = hyperparameters.batch_size
        self._train = _Resident(train, device)
        self._valid = _Resident(valid, device)

    def train_epoch(self, on_progress: Callable[[int], None]) -> npt.NDArray[np.float64]:
        losses = []
        done = 0
        for images, labels in self._train.minibatches(self._batch_size):
            loss = F.cross_entropy(_logits(self._operations, self._weights, images), labels)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            losses.append(loss.detach())
            done += len(labels)
            on_progress(done)
        return torch.stack(losses).double().cpu().numpy()

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        loss = torch.zeros((), dtype=torch.float64, device=self._valid.labels.device)
        correct = torch.zeros((), dtype=torch.int64, device=self._valid.labels.device)
        for images, labels in self._valid.minibatches(EVALUATION_BATCH):
            logits = _logits(self._operations, self._weights, images)
            loss += F.cross_entropy(logits, labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
        return float(loss) / len(self._valid.labels), float(correct) / len(self._valid.labels)

    def weights(self) -> Weights:
        return {
            name: _flipped(values.detach()).cpu().contiguous().numpy().copy() for name, values in self._weights.items()
        }

    def close(self) -> None:
        """Do nothing: the training runs in this process."""


class _Resident:
    """Examples on the device, images in the layout that its convolutions read fastest."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self._images = _images_on(device, examples.images)
        self.labels = torch.from_numpy(examples.labels.astype(np.int64)).to(device)

    def minibatches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.labels), size):
            yield self._images[start : start + size], self.labels[start : start + size]


def _images_on(device: torch.device, images: FloatArray) -> Tensor:
    tensor = torch.from_numpy(images).to(device)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


class TorchEngine:
    """PyTorch as an `Engine`."""

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
    ) -> TorchTrainer:
        _prepare(device, threads)
        return TorchTrainer(network, hyperparameters, weights, train, valid, torch.device(device))

    def probabilities(
        self, network: Network, weights: Weights, images: FloatArray, *, device: str, threads: int
    ) -> FloatArray:
        _prepare(device, threads)
        operations = _operations(network)
        on_device = _to_device(network, weights, torch.device(device))
        with torch.no_grad():
            parts = [
                torch.softmax(_logits(operations, on_device, _images_on(torch.device(device), part)), 1).cpu()
                for part in np.split(images, range(EVALUATION_BATCH, len(images), EVALUATION_BATCH))
            ]
        result: FloatArray = torch.cat(parts).numpy()
        return result

    def exponentials(self, vector: FloatArray, repeats: int, *, device: str, threads: int) -> tuple[FloatArray, float]:
        _prepare(device, threads)
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


def _prepare(device: str, threads: int) -> None:
    """Set PyTorch to float32 as the other engines compute it, the same on each run."""
    torch.set_num_threads(threads)
    if device == "cuda":
        _require_cuda()
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True


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
