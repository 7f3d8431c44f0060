"""The layers of a network in PyTorch, each with its gradient written by hand.

PyTorch's autograd does not follow the rules of the article's libraries: its pooling gives a tied maximum's gradient to
one position alone, and the slope of its ReLU at 0 is 0. Without autograd a step of a small network is also faster.

Images have the shape ``(images, channels, rows, columns)`` and lie in memory with their channels last, the layout that
PyTorch's convolutions read fastest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812, PyTorch's own name for it
from torch import Tensor

from pipeline.engines.torch.parameters import TorchParameters
from pipeline.errors import EngineError
from pipeline.networks.declaration import Network
from pipeline.networks.layers import Conv2DLayer, DenseLayer, MaxPool2DLayer, Nonlinearity


class Layers:
    """The layers of a network up to its softmax, which belongs to the loss."""

    def __init__(self, network: Network, parameters: TorchParameters) -> None:
        self._compute_type = parameters.compute_type
        self._image_shape = network.input_shape
        operations = _operations(network, parameters)
        first = next(operation for operation in operations if isinstance(operation, _Weighted))
        first.needs_input_gradient = False  # nothing uses the gradient of the images
        self._before = operations[: operations.index(first)]
        self._operations = operations[len(self._before) :]

    def prepared(self, images: Tensor) -> Tensor:
        """Return images as the layers read them: in the layers' type, channels last, a row for each image.

        Rows, because PyTorch cannot find the axis of the channels by the strides of images of one channel.
        """
        values = images.to(self._compute_type)
        return values.movedim(1, -1).flatten(1) if values.ndim == 4 else values

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of prepared images, float32, shape (N, classes)."""
        values = self._input(images)
        for operation in self._operations:
            values = operation.forward(values)
        return values.float()

    def backpropagate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Write the gradients of a minibatch's mean loss into the parameters, and return the loss.

        Images are those that `prepared` returns; labels are int64, shape (N,).
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


class _Operation(Protocol):
    """A step of the forward pass, with its backward pass."""

    def forward(self, values: Tensor, /) -> Tensor:
        """Return the result."""

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor, /) -> Tensor:
        """Return the gradient of the loss by ``values``, from ``gradient``, the gradient by the result."""


class _Weighted(_Operation):
    """An operation with weights; its `backward` also writes their gradients."""

    needs_input_gradient = True

    def __init__(self, name: str, parameters: TorchParameters) -> None:
        self.weight, self.bias = (parameters.values[f"{name}/{kind}"] for kind in "Wb")
        self.weight_gradient, self.bias_gradient = (parameters.gradients[f"{name}/{kind}"] for kind in "Wb")


class _Convolution(_Weighted):
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
            output_mask=(self.needs_input_gradient, True, True),
        )
        self.weight_gradient.copy_(weight_gradient)
        self.bias_gradient.copy_(bias_gradient)
        return input_gradient


class _Dense(_Weighted):
    def forward(self, values: Tensor) -> Tensor:
        return torch.addmm(self.bias, values, self.weight)

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        torch.mm(values.t(), gradient, out=self.weight_gradient)
        torch.sum(gradient, 0, out=self.bias_gradient)
        return torch.mm(gradient, self.weight.t()) if self.needs_input_gradient else gradient


@dataclass(frozen=True)
class _MaxPool(_Operation):
    """The maximum of each window; every value that equals it receives the whole gradient."""

    size: tuple[int, int]
    stride: tuple[int, int]

    def forward(self, values: Tensor) -> Tensor:
        # The maximum over a window's columns, then over its rows, takes fewer comparisons than over all its values.
        for axis in (2, 3):
            values = functools.reduce(torch.maximum, self._positions_along(axis, values))
        return values

    def backward(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        if self.stride == self.size:
            return self._backward_of_tiles(values, result, gradient)
        input_gradient = torch.zeros_like(values)
        for of_values, of_gradient in zip(self._positions(values), self._positions(input_gradient), strict=True):
            of_gradient.addcmul_(gradient, (of_values == result).to(gradient.dtype))
        return input_gradient

    def _backward_of_tiles(self, values: Tensor, result: Tensor, gradient: Tensor) -> Tensor:
        """Compute all positions of a window at once, because no two windows overlap."""
        rows, columns = (windows * size for windows, size in zip(result.shape[2:], self.size, strict=True))
        leaves_border = (rows, columns) != values.shape[2:]
        input_gradient = torch.zeros_like(values) if leaves_border else torch.empty_like(values)
        shape = (*result.shape[:3], self.size[0], result.shape[3], self.size[1])
        tiles, targets = (images[:, :, :rows, :columns].view(shape) for images in (values, input_gradient))
        # The comparison writes numbers: into PyTorch's bool it takes three times as long.
        torch.eq(tiles, _for_each_position(result), out=targets).mul_(_for_each_position(gradient))
        return input_gradient

    def _positions(self, values: Tensor) -> Iterator[Tensor]:
        """Yield a view of the values at each position of the windows, of the shape of the result."""
        for of_rows in self._positions_along(2, values):
            yield from self._positions_along(3, of_rows)

    def _positions_along(self, axis: int, values: Tensor) -> Iterator[Tensor]:
        size, stride = self.size[axis - 2], self.stride[axis - 2]
        windows = (values.shape[axis] - size) // stride + 1
        for first in range(size):
            index = [slice(None)] * values.ndim
            index[axis] = slice(first, first + stride * (windows - 1) + 1, stride)
            yield values[tuple(index)]


def _for_each_position(windows: Tensor) -> Tensor:
    """Reshape a value for each window to be broadcast to ``(images, channels, rows, size, columns, size)``."""
    return windows.unsqueeze(4).unsqueeze(3)


class _Function(NamedTuple):
    """An operation without weights."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]


def _rectifier_backward(values: Tensor, _result: Tensor, gradient: Tensor) -> Tensor:
    """Multiply by the slope of (x + abs(x)) / 2, which is one half at exactly 0."""
    half = gradient * 0.5
    return torch.addcmul(half, half, values.sign())


_FLATTEN = _Function(
    lambda values: values.flatten(1),
    lambda values, _, gradient: gradient.view(values.shape).contiguous(memory_format=torch.channels_last),
)
"""Flattens images in the order (channel, row, column)."""

_RECTIFIER = _Function(torch.relu, _rectifier_backward)

_NONLINEARITIES: dict[Nonlinearity, list[_Function]] = {
    Nonlinearity.linear: [],
    Nonlinearity.rectify: [_RECTIFIER],
    Nonlinearity.sigmoid: [_Function(torch.sigmoid, lambda _, result, gradient: gradient * result * (1 - result))],
    Nonlinearity.softmax: [],  # the loss includes it
    Nonlinearity.tanh: [_Function(torch.tanh, lambda _, result, gradient: gradient * (1 - result * result))],
}


def _operations(network: Network, parameters: TorchParameters) -> list[_Operation]:
    """Return the operations of all layers, in order.

    A rectifier before pooling moves behind it: values and gradients stay the same, because the rectifier keeps the
    order of values, and it has a quarter of the values to compute.
    """
    operations: list[_Operation] = []
    for entry in network.layers[1:]:
        match entry.layer:
            case Conv2DLayer() as layer:
                operations += [_Convolution(entry.name, parameters, layer), *_NONLINEARITIES[layer.nonlinearity]]
            case DenseLayer() as layer:
                if len(entry.input_shape) > 1:
                    operations.append(_FLATTEN)
                operations += [_Dense(entry.name, parameters), *_NONLINEARITIES[layer.nonlinearity]]
            case MaxPool2DLayer() as layer:
                before_rectifier = bool(operations) and operations[-1] is _RECTIFIER
                pooling = _MaxPool(layer.pool_size, layer.stride or layer.pool_size)
                operations.insert(len(operations) - before_rectifier, pooling)
            case layer:
                raise EngineError(f"layer {entry.name!r}: the torch engine has no {type(layer).__name__}.")
    return operations


def _cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of the softmax, and its gradient: (probability - one-hot label) / images."""
    logarithms = torch.log_softmax(logits, 1)
    loss = F.nll_loss(logarithms, labels)
    gradient = logarithms.exp_().scatter_(1, labels.unsqueeze(1), -1, reduce="add").div_(len(labels))
    return loss, gradient
