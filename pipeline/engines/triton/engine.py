"""The engine for CUDA: kernels that Triton compiles for the GPU, and a step that a CUDA graph replays.

It supports the networks of the numba engine: convolution with stride 1 and without padding, 2x2 max pooling right after
it, dense layers, rectified or linear, and softmax at the end, of any size and number. No kernel uses atomic operations,
so the same weights and data give the same result to the bit.

With ``TRITON_INTERPRET=1`` Triton's interpreter runs the kernels on the CPU, for tests and debuggers: it is slow.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.engines.cuda.exponentials import timed
from pipeline.engines.cuda.graphs import Action, cuda_graphs
from pipeline.engines.cuda.memory import TensorTrainer, check_cuda
from pipeline.engines.cuda.validation import loss_and_confusion, result_count, validation
from pipeline.engines.engine import Engine, Examples, Training, Validation
from pipeline.engines.fused import check_examples, check_images, weighted_layers
from pipeline.engines.triton import cache
from pipeline.engines.triton.blocks import INTERPRETED, IS_INTERPRETED, ON_GPU, Blocks
from pipeline.engines.triton.exponential import exponential
from pipeline.engines.triton.failures import explained
from pipeline.engines.triton.minibatches import Minibatches, on_device
from pipeline.engines.triton.parameters import Parameters
from pipeline.engines.triton.passes import ForwardPass, Steps, check_size, largest_minibatch
from pipeline.errors import DeviceError, SettingError
from pipeline.networks.arrays import DoubleArray, FloatArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import Weights

EVALUATION_BATCH = 2500
"""Images evaluated at once: enough to keep a GPU busy, with few launches."""

STEPS_AT_ONCE = 16
"""Steps that a recording takes: a step of the article's MLP is over sooner than Python can replay the next one."""

PRECISIONS = ("ieee", "tf32x3")


@dataclass(frozen=True)
class TritonEngine(Engine):
    """The engine, with its setting.

    Parameters
    ----------
    precision : {"ieee", "tf32x3"}
        How products of float32 numbers are computed: as such, or on tensor cores as three products of rounded ones.
    blocks : Blocks
        How much a program computes.
    """

    device: str = "cuda"
    precision: str = "ieee"
    blocks: Blocks = INTERPRETED if IS_INTERPRETED else ON_GPU

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise SettingError(f"precision is {self.precision!r}; expected {' or '.join(PRECISIONS)}.")
        if IS_INTERPRETED and self.device == "cuda":
            raise DeviceError(
                "TRITON_INTERPRET is set, so Triton interprets its kernels on the CPU. Unset it, or use --device cpu."
            )
        if not IS_INTERPRETED and self.device == "cpu":
            raise DeviceError("the triton engine computes on CUDA, not on 'cpu'. Use --engine numba --device cpu.")
        if self.device == "cuda":
            check_cuda()
            cache.use_folder()

    @explained()
    def trainer(self, training: Training) -> TritonTrainer:
        return TritonTrainer(training, self)

    @explained()
    def probabilities(self, network: Network, weights: Weights, images: FloatArray) -> FloatArray:
        check_images(network, images)
        parameters = Parameters(weighted_layers(network, "triton"), weights, None, self.device, self.blocks.updated)
        data = on_device(Examples(images, np.zeros(len(images), np.uint8)), parameters.is_convolutional, self.device)
        sizes = _minibatches(len(images), _evaluated_at_once(parameters))
        forward = ForwardPass(parameters, data, max(sizes, default=1), self.precision, self.blocks)
        logits = [forward.logits(count) for count in sizes]
        if not logits:
            return np.empty((0, network.classes), np.float32)
        probabilities: FloatArray = torch.softmax(torch.cat(logits), 1).cpu().numpy()
        return probabilities

    @explained()
    def exponentials(self, vector: FloatArray, repeats: int) -> tuple[FloatArray, float]:
        return timed(exponential, vector, repeats, self.device)

    @explained()
    def device_name(self) -> str:
        return torch.cuda.get_device_name() if self.device == "cuda" else f"{super().device_name()}, interpreted"

    def first_wait(self) -> str | None:
        if self.device == "cpu" or any(cache.use_folder().iterdir()):
            return None
        return "compiling the kernels, once on this machine for each network; it takes some seconds"


class TritonTrainer(TensorTrainer):
    """A network in training on a GPU."""

    def __init__(self, training: Training, engine: TritonEngine) -> None:
        device, precision, blocks = engine.device, engine.precision, engine.blocks
        super().__init__(device)
        layers = weighted_layers(training.network, "triton")
        for examples in (training.train, training.valid):
            check_examples(training.network, examples)
        self._parameters = parameters = Parameters(layers, training.weights, training.velocity, device, blocks.updated)
        self._sizes = _minibatches(len(training.train), training.hyperparameters.batch_size)
        check_size(parameters, self._sizes[0])
        self._train, self._valid = (
            on_device(examples, parameters.is_convolutional, device) for examples in (training.train, training.valid)
        )
        record = cuda_graphs([*parameters.state(), self._train.counter]) if device == "cuda" else _unrecorded
        steps = Steps(parameters, self._train, self._sizes[0], precision, blocks)
        self._epoch: list[Action] = []
        for size, number in Counter(self._sizes).items():
            take = functools.partial(_take, steps, size, training.hyperparameters, steps.blocks(size))
            for at_once, times in zip((STEPS_AT_ONCE, 1), divmod(number, STEPS_AT_ONCE), strict=True):
                if times:
                    self._epoch += [record(functools.partial(take, at_once))] * times
        self._scores = torch.zeros(result_count(training.network.classes), dtype=torch.float64, device=device)
        sizes = _minibatches(len(training.valid), _evaluated_at_once(parameters))
        forward = ForwardPass(parameters, self._valid, sizes[0], precision, blocks)
        self._score = record(functools.partial(_score, forward, self._valid, sizes, self._scores))

    @explained()
    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        self._train.counter.zero_()
        for take in self._epoch:
            take()
        of_images = self._train.losses.cpu().numpy().astype(np.float64)
        firsts = np.cumsum([0, *self._sizes[:-1]])
        losses: DoubleArray = np.add.reduceat(of_images, firsts) / self._sizes
        on_progress(len(of_images))
        return losses

    @explained()
    def validate(self) -> Validation:
        self._score()
        return validation(self._scores.cpu().numpy())

    @explained()
    def weights(self) -> Weights:
        return self._parameters.weights()

    @explained()
    def velocity(self) -> Weights:
        return self._parameters.velocity()


def _minibatches(images: int, size: int) -> list[int]:
    """Return the number of images of each minibatch; the last one may be smaller."""
    full, rest = divmod(images, size)
    return [size] * full + [rest] * (rest > 0)


def _evaluated_at_once(parameters: Parameters) -> int:
    return min(EVALUATION_BATCH, largest_minibatch(parameters))


def _unrecorded(action: Action) -> Action:
    return action


def _take(steps: Steps, images: int, hyperparameters: Hyperparameters, blocks: Tensor, number: int) -> None:
    for _ in range(number):
        steps.step(images, hyperparameters, blocks)


def _score(forward: ForwardPass, data: Minibatches, sizes: list[int], scores: Tensor) -> None:
    """Write the sum of what `loss_and_confusion` returns for all minibatches."""
    data.counter.zero_()
    scores.zero_()
    for images, labels in zip(sizes, torch.split(data.labels.long(), sizes), strict=True):
        scores += loss_and_confusion(forward.logits(images).double(), labels)


ENGINE = TritonEngine
