"""PyTorch, from the way of its tutorials to the fastest way that was found."""

from __future__ import annotations

import atexit
import ctypes
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from alternatives.work import Epoch, Scores, Work
from pipeline.engines.cuda.graphs import cuda_graphs
from pipeline.engines.engine import Examples
from pipeline.engines.torch.minibatches import Replayed

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""From glibc's ``malloc.h``."""


def dataloader(work: Work, device: str = "cpu") -> Epoch:
    """Train as PyTorch's tutorials do."""
    _set_up(work.threads)
    train, valid = (
        DataLoader(TensorDataset(*_tensors(part)), batch_size=work.how.batch_size) for part in (work.train, work.valid)
    )
    return _epoch_of(_model(work), work, lambda: train, lambda: valid, device)


def tensors(work: Work, device: str = "cpu") -> Epoch:
    """Take minibatches as views of tensors that are on the device, without a DataLoader."""
    _set_up(work.threads)
    size = work.how.batch_size
    train, valid = (_on_device(_tensors(part), device) for part in (work.train, work.valid))
    return _epoch_of(_model(work), work, lambda: _minibatches(*train, size), lambda: _minibatches(*valid, size), device)


def tuned(work: Work) -> Epoch:
    """Train the CNN with channels last, pooling before the rectifier, and memory that the allocator keeps."""
    _keep_memory()
    _set_up(work.threads)
    size = work.how.batch_size
    train, valid = _channels_last(work.train), _channels_last(work.valid)
    model = _cnn(pooling_first=True).to(memory_format=torch.channels_last)
    return _epoch_of(model, work, lambda: _minibatches(*train, size), lambda: _minibatches(*valid, size))


def compiled(work: Work, device: str = "cpu") -> Epoch:
    """Compile the whole step, with pooling as a maximum of four slices; on CUDA, record it as a graph."""
    # A folder of its own: a compiler that was interrupted leaves a broken file in the one that runs share.
    compiled_code = tempfile.TemporaryDirectory()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = compiled_code.name
    atexit.register(compiled_code.cleanup)
    _keep_memory()
    _set_up(work.threads)
    size, rate, momentum = work.how.batch_size, work.how.learning_rate, work.how.momentum
    arrange = _tensors if work.name == "mlp" else _channels_last
    train, valid = (_on_device(arrange(part), device) for part in (work.train, work.valid))
    model = _mlp() if work.name == "mlp" else _cnn(pooling_first=True, pool=_MaximumOfSlices)
    model = model.to(device) if work.name == "mlp" else model.to(device, memory_format=torch.channels_last)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    velocities = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}

    def loss_of(values: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(model, values, (images,)), labels)

    @torch.compile(dynamic=False)
    def step(images: Tensor, labels: Tensor) -> Tensor:
        gradients, loss = torch.func.grad_and_value(loss_of)(parameters, images, labels)
        for name, gradient in gradients.items():
            velocities[name].mul_(momentum).sub_(gradient, alpha=rate)
            parameters[name].add_(velocities[name], alpha=momentum).sub_(gradient, alpha=rate)
        return loss

    @torch.compile(dynamic=False)
    def outputs(images: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (images,))

    if device == "cuda":
        return _recorded_epoch_of(step, outputs, [*parameters.values(), *velocities.values()], work, train, valid)

    @torch.no_grad()
    def epoch() -> Scores:
        train_loss = sum(step(images, labels) * len(labels) for images, labels in _minibatches(*train, size))
        return _scores(train_loss, work, outputs, _minibatches(*valid, size))

    return epoch


def by_hand(work: Work) -> Epoch:
    """Train the MLP without autograd, gradients written into tensors that are there for all minibatches."""
    _keep_memory()
    _set_up(work.threads)
    size, rate, momentum = work.how.batch_size, work.how.learning_rate, work.how.momentum
    train, valid = _tensors(work.train), _tensors(work.valid)
    first, _, last = _mlp()
    shapes = [first.weight.T.shape, first.bias.shape, last.weight.T.shape, last.bias.shape]
    values, gradients, velocity = (torch.zeros(sum(shape.numel() for shape in shapes)) for _ in range(3))
    w1, b1, w2, b2 = _views(values, shapes)
    gw1, gb1, gw2, gb2 = _views(gradients, shapes)
    w1.copy_(first.weight.detach().T)
    w2.copy_(last.weight.detach().T)

    def outputs(images: Tensor) -> Tensor:
        return torch.addmm(b2, torch.addmm(b1, images, w1).relu_(), w2)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        hidden = torch.addmm(b1, images, w1).relu_()
        logarithms = torch.log_softmax(torch.addmm(b2, hidden, w2), 1)
        target = labels[:, None]
        loss = -logarithms.gather(1, target).sum()
        gradient = logarithms.exp_()
        gradient.scatter_add_(1, target, torch.full_like(target, -1, dtype=torch.float32)).div_(len(labels))
        torch.mm(hidden.T, gradient, out=gw2)
        torch.sum(gradient, 0, out=gb2)
        gradient = torch.mm(gradient, w2.T).mul_(hidden > 0)
        torch.mm(images.T, gradient, out=gw1)
        torch.sum(gradient, 0, out=gb1)
        velocity.mul_(momentum).sub_(gradients, alpha=rate)
        values.add_(velocity, alpha=momentum).sub_(gradients, alpha=rate)
        return loss

    @torch.no_grad()
    def epoch() -> Scores:
        train_loss = sum(step(images, labels) for images, labels in _minibatches(*train, size))
        return _scores(train_loss, work, outputs, _minibatches(*valid, size))

    return epoch


Minibatches = Iterable[tuple[Tensor, Tensor]]


def _recorded_epoch_of(
    step: Callable[[Tensor, Tensor], Tensor],
    outputs: Callable[[Tensor], Tensor],
    state: list[Tensor],
    work: Work,
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
) -> Epoch:
    """Return an epoch that replays CUDA graphs of a step, which changes the tensors of the state, and of validation."""
    record, size = cuda_graphs(state), work.how.batch_size

    def sums(images: Tensor, labels: Tensor) -> Tensor:
        logits = outputs(images)
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        return torch.stack([loss, (logits.argmax(1) == labels).sum()])

    with torch.no_grad():
        take_steps = Replayed(lambda *minibatch: step(*minibatch)[None], *train, size, results=1, record=record)
        validate = Replayed(sums, *valid, size, results=2, record=record)
    sizes = np.diff([*range(0, len(work.train), size), len(work.train)])

    def epoch() -> Scores:
        losses = take_steps(lambda _: None)[:, 0]
        loss, correct = validate(lambda _: None).sum(0) / len(work.valid)
        return Scores(float(np.average(losses, weights=sizes)), float(loss), float(correct))

    return epoch


def _epoch_of(
    model: nn.Module,
    work: Work,
    train: Callable[[], Minibatches],
    valid: Callable[[], Minibatches],
    device: str = "cpu",
) -> Epoch:
    """Return an epoch with autograd and PyTorch's own optimiser, on minibatches from memory or from the device."""
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), work.how.learning_rate, work.how.momentum, nesterov=True)
    loss_of = nn.CrossEntropyLoss()

    def epoch() -> Scores:
        train_loss = torch.zeros((), device=device)
        for images, labels in _each_on_device(train(), device):
            optimizer.zero_grad()
            loss = loss_of(model(images), labels)
            loss.backward()
            optimizer.step()
            train_loss += loss.detach() * len(labels)  # a GPU goes on while nobody asks for the number
        with torch.no_grad():
            return _scores(train_loss, work, model, _each_on_device(valid(), device))

    return epoch


def _scores(
    train_loss: Tensor | float, work: Work, outputs: Callable[[Tensor], Tensor], minibatches: Minibatches
) -> Scores:
    loss = correct = 0.0
    for images, labels in minibatches:
        logits = outputs(images)
        loss += functional.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
    totals = float(train_loss) / len(work.train), float(loss) / len(work.valid), float(correct) / len(work.valid)
    return Scores(*totals)


def _model(work: Work) -> nn.Sequential:
    return _mlp() if work.name == "mlp" else _cnn()


def _mlp() -> nn.Sequential:
    torch.manual_seed(42)
    return nn.Sequential(nn.Linear(1024, 100), nn.ReLU(), nn.Linear(100, 10))


def _cnn(*, pooling_first: bool = False, pool: Callable[[int], nn.Module] = nn.MaxPool2d) -> nn.Sequential:
    torch.manual_seed(42)

    def block(channels: int, filters: int, size: int) -> list[nn.Module]:
        after = [pool(2), nn.ReLU()] if pooling_first else [nn.ReLU(), pool(2)]
        return [nn.Conv2d(channels, filters, size), *after]

    return nn.Sequential(
        *block(1, 16, 3),
        *block(16, 32, 2),
        *block(32, 64, 2),
        *(nn.Flatten(), nn.Linear(576, 200), nn.ReLU(), nn.Linear(200, 10)),
    )


class _MaximumOfSlices(nn.Module):
    """2x2 pooling that a compiler can put into one loop with the operations around it."""

    def __init__(self, _size: int) -> None:
        super().__init__()

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = images.shape[2] // 2 * 2, images.shape[3] // 2 * 2
        a, b, c, d = (images[:, :, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1))
        return torch.maximum(torch.maximum(a, b), torch.maximum(c, d))


def _tensors(part: Examples) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(part.images), torch.from_numpy(part.labels.astype(np.int64))


def _channels_last(part: Examples) -> tuple[Tensor, Tensor]:
    images, labels = _tensors(part)
    return images.contiguous(memory_format=torch.channels_last), labels


def _on_device(tensors: tuple[Tensor, Tensor], device: str) -> tuple[Tensor, Tensor]:
    images, labels = tensors
    return images.to(device), labels.to(device)


def _each_on_device(minibatches: Minibatches, device: str) -> Minibatches:
    return (_on_device(minibatch, device) for minibatch in minibatches)


def _minibatches(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(images.split(size), labels.split(size), strict=True)


def _views(flat: Tensor, shapes: list[torch.Size]) -> list[Tensor]:
    return [
        part.view(shape) for part, shape in zip(flat.split([shape.numel() for shape in shapes]), shapes, strict=True)
    ]


def _set_up(threads: int) -> None:
    """Have PyTorch use all threads, and compute in float32 on a GPU too, where it rounds convolutions to tf32."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False


def _keep_memory() -> None:
    """Have glibc keep freed memory: it would return each large tensor to the system, and fetch it again."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 1024**2)  # glibc takes no more
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
