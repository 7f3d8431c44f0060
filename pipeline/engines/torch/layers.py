"""What a network does to images in PyTorch, and how gradients go back, written out by hand.

Without autograd nothing stands between a gradient and the rules of the article's libraries, which
PyTorch's own do not follow: its pooling gives a tied maximum's gradient to one position alone, and its
ReLU has slope 0 at 0. It also saves what autograd itself takes, which a small network's step feels.

Images are ``(images, channels, rows, columns)`` to PyTorch and lie in memory with their channels last,
as its convolutions read them fastest.
"""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812, PyTorch's own name for it
from torch import Tensor

from pipeline.engines.torch.parameters import TorchParameters
from pipeline.errors import EngineError
from pipeline.networks.declaration import NamedLayer, Network
from pipeline.networks.layers import Conv2DLayer, DenseLayer, MaxPool2DLayer, Nonlinearity


class Layers:
    """The layers of a network up to its softmax, which belongs to the loss."""

    def __init__(self, network: Network, parameters: TorchParameters) -> None:
        self._compute_type = parameters.compute_type
        self._image_shape = network.input_shape
        operations = _operations(network, parameters)
        first = next(operation for operation in operations if isinstance(operation, _Learned))
        first.wants_input_gradient = False  # it would be by the images
        self._before = operations[: operations.index(first)]
        self._operations = operations[len(self._before) :]

    def laid_out(self, images: Tensor) -> Tensor:
        """Lay out images as the layers read them: of the type that they compute in, channels last, a row each.

        A row, since the strides of an image of one channel do not tell PyTorch where its channels are.
        """
        values = images.to(self._compute_type)
        return values.movedim(1, -1).flatten(1) if values.ndim == 4 else values

    def logits(self, images: Tensor) -> Tensor:
        """Return what goes into the softmax, float32, shape (N, classes), of images that are laid out."""
        values = self._input(images)
        for operation in self._operations:
            values = operation.forward(values)
        return values.float()

    def learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """Put the gradients of a minibatch's mean loss into the parameters, and return the loss before.

        Parameters
        ----------
        images : Tensor
            As `laid_out` returns them.
        labels : Tensor of int64, shape (N,)
        """
        values = [self._input(images)]
        for operation in self._operations:
            values.append(operation.forward(values[-1]))
        loss, gradient = _cross_entropy(values[-1].float(), labels)
        gradient = gradient.to(self._compute_type)
        for operation in reversed(self._operations):
            result = values.pop()
            gradient = operation.backward(values[-1], result, gradient)
        return loss

    def _input(self, images: Tensor) -> Tensor:
        values = images
        if len(self._image_shape) == 3:
            channels, rows, columns = self._image_shape
            values = images.view(-1, rows, columns, channels).permute(0, 3, 1, 2)
        for operation in self._before:
            values = operation.forward(values)
        return values


class _Operation(ABC):
    """Something done to the values on their way to the loss, and to the gradient on its way back."""

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """Return the result."""

    @abstractmethod
    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of the loss with respect to the values, given that with respect to the result."""


class _Learned(_Operation):
    """An operation with weights, whose gradients its `backward` puts in place."""

    wants_input_gradient = True

    def __init__(self, name: str, parameters: TorchParameters) -> None:
        self.weight, self.bias = (parameters.values[f"{name}/{part}"] for part in "Wb")
        self.weight_gradient, self.bias_gradient = (parameters.gradients[f"{name}/{part}"] for part in "Wb")


class _Convolve(_Learned):
    def __init__(self, name: str, parameters: TorchParameters, layer: Conv2DLayer) -> None:
        super().__init__(name, parameters)
        self._layer = layer

    def forward(self, values: Tensor) -> Tensor:
        return torch.conv2d(values, self.weight, self.bias, self._layer.stride, self._layer.pad)

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        input_gradient: Tensor
        input_gradient, weight_gradient, bias_gradient = torch.ops.aten.convolution_backward(
            gradient,
            values,
            self.weight,
            bias_sizes=[self._layer.num_filters],
            stride=self._layer.stride,
            padding=self._layer.pad,
            dilation=(1, 1),
            transposed=False,
            output_padding=(0, 0),
            groups=1,
            output_mask=(self.wants_input_gradient, True, True),
        )
        self.weight_gradient.copy_(weight_gradient)
        self.bias_gradient.copy_(bias_gradient)
        return input_gradient


class _Multiply(_Learned):
    """A dense layer's part that has weights."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.addmm(self.bias, values, self.weight)

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        torch.mm(values.t(), gradient, out=self.weight_gradient)
        torch.sum(gradient, 0, out=self.bias_gradient)
        return torch.mm(gradient, self.weight.t()) if self.wants_input_gradient else gradient


class _Flatten(_Operation):
    """Lay images out as (channel, row, column)."""

    def forward(self, values: Tensor) -> Tensor:
        return values.flatten(1)

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        return gradient.view(values.shape).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _TakeMaxima(_Operation):
    """The largest value of each window; every value that equals it receives its whole gradient."""

    size: tuple[int, int]
    stride: tuple[int, int]

    def forward(self, values: Tensor) -> Tensor:
        # The columns of each window, then its rows: fewer comparisons than of all its values at once.
        for axis in (2, 3):
            values = functools.reduce(torch.maximum, self._places_along(axis, values))
        return values

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        if self.stride == self.size:
            return self._spread_over_tiles(values, result, gradient)
        spread = torch.zeros_like(values)
        for place, target in zip(self._places(values), self._places(spread), strict=True):
            target.addcmul_(gradient, (place == result).to(gradient.dtype))
        return spread

    def _spread_over_tiles(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        """Do it for all places of a window at once, which belong to no other."""
        rows, columns = (windows * size for windows, size in zip(result.shape[2:], self.size, strict=True))
        leaves_border = (rows, columns) != values.shape[2:]
        spread = torch.zeros_like(values) if leaves_border else torch.empty_like(values)
        shape = (*result.shape[:3], self.size[0], result.shape[3], self.size[1])
        tiles, targets = (images[:, :, :rows, :columns].view(shape) for images in (values, spread))
        # Into numbers: PyTorch compares into its bool three times slower.
        torch.eq(tiles, _for_each_place(result), out=targets).mul_(_for_each_place(gradient))
        return spread

    def _places(self, values: Tensor) -> Iterator[Tensor]:
        """Yield a view of the values for each place in a window, each shaped like the result."""
        for of_rows in self._places_along(2, values):
            yield from self._places_along(3, of_rows)

    def _places_along(self, axis: int, values: Tensor) -> Iterator[Tensor]:
        size, stride = self.size[axis - 2], self.stride[axis - 2]
        windows = (values.shape[axis] - size) // stride + 1
        for first in range(size):
            every = [slice(None)] * values.ndim
            every[axis] = slice(first, first + stride * (windows - 1) + 1, stride)
            yield values[tuple(every)]


def _for_each_place(of_windows: Tensor) -> Tensor:
    """Shape what there is one of for each window to go with ``(images, channels, rows, size, columns, size)``."""
    return of_windows.unsqueeze(4).unsqueeze(3)


class _Rectify(_Operation):
    """(x + abs(x)) / 2, whose slope at exactly 0 is one half."""

    def forward(self, values: Tensor) -> Tensor:
        return values.relu()

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        half = gradient * 0.5
        return torch.addcmul(half, half, values.sign())


class _Sigmoid(_Operation):
    def forward(self, values: Tensor) -> Tensor:
        return values.sigmoid()

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        return gradient * result * (1 - result)


class _Tanh(_Operation):
    def forward(self, values: Tensor) -> Tensor:
        return values.tanh()

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        return gradient * (1 - result * result)


_NONLINEARITIES: dict[Nonlinearity, list[type[_Operation]]] = {
    Nonlinearity.linear: [],
    Nonlinearity.rectify: [_Rectify],
    Nonlinearity.sigmoid: [_Sigmoid],
    Nonlinearity.softmax: [],  # the loss takes it, together with the logarithm
    Nonlinearity.tanh: [_Tanh],
}


def _operations(network: Network, parameters: TorchParameters) -> list[_Operation]:
    """Return the operations of all layers, in order.

    A rectifier in front of pooling is moved behind it: the largest of the rectified values is the rectified
    largest value, the gradients are the same, and it has a quarter of the values to do.
    """
    operations: list[_Operation] = []
    for operation in itertools.chain.from_iterable(_of_layer(entry, parameters) for entry in network.layers[1:]):
        moves = isinstance(operation, _TakeMaxima) and operations and isinstance(operations[-1], _Rectify)
        operations.insert(len(operations) - bool(moves), operation)
    return operations


def _of_layer(entry: NamedLayer, parameters: TorchParameters) -> Iterator[_Operation]:
    match entry.layer:
        case Conv2DLayer() as layer:
            yield _Convolve(entry.name, parameters, layer)
            yield from (kind() for kind in _NONLINEARITIES[layer.nonlinearity])
        case DenseLayer() as layer:
            if len(entry.input_shape) > 1:
                yield _Flatten()
            yield _Multiply(entry.name, parameters)
            yield from (kind() for kind in _NONLINEARITIES[layer.nonlinearity])
        case MaxPool2DLayer() as layer:
            yield _TakeMaxima(layer.pool_size, layer.stride or layer.pool_size)
        case layer:
            raise EngineError(f"layer {entry.name!r}: the torch engine does not know {type(layer).__name__}.")


def _cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy after a softmax, and its gradient at the logits, (probability - truth) / images."""
    logarithms = torch.log_softmax(logits, 1)
    loss = F.nll_loss(logarithms, labels)
    gradient = logarithms.exp_().scatter_(1, labels.unsqueeze(1), -1, reduce="add").div_(len(labels))
    return loss, gradient
