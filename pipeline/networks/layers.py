"""Define the layers and nonlinearities of a declaration, under Lasagne's names.

The fields of a layer class are its options, with Lasagne's defaults; its methods return the shapes of its output and
its weights. Engines compute the layers.

Shapes leave out the minibatch: ``(channels, height, width)`` for images, ``(units,)`` for dense layers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeGuard

from pipeline.errors import DeclarationError, did_you_mean

Shape = tuple[int, ...]
Pair = tuple[int, int]


class Nonlinearity(StrEnum):
    """An activation function, by Lasagne's name for it."""

    linear = "linear"
    rectify = "rectify"
    sigmoid = "sigmoid"
    softmax = "softmax"
    tanh = "tanh"


linear, rectify, sigmoid, softmax, tanh = Nonlinearity


@dataclass(frozen=True)
class Layer(ABC):
    """Base class of all layers."""

    def check(self) -> None:
        """Raise `DeclarationError` if an option has a value that is not allowed."""

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output for one image of the given shape."""

    def weight_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Return the shapes of the layer's weights, ``W`` and ``b``; empty for a layer without weights."""
        return {}


@dataclass(frozen=True)
class InputLayer(Layer):
    """The input: ``shape`` is ``(None, units)`` or ``(None, channels, height, width)``, with None for the minibatch."""

    shape: tuple[int | None, ...]

    def check(self) -> None:
        minibatch, *sizes = self.shape if isinstance(self.shape, tuple) and self.shape else (0,)
        if minibatch is not None or len(sizes) not in (1, 3) or not all(map(is_whole, sizes)):
            raise DeclarationError(
                f"shape is {self.shape!r}; expected (None, units) or (None, channels, height, width) "
                "with whole numbers from 1: the None stands for the minibatch."
            )

    def output_shape(self, input_shape: Shape) -> Shape:
        return tuple(size for size in self.shape if size is not None)


@dataclass(frozen=True)
class DenseLayer(Layer):
    """A fully connected layer; the input is flattened in the order channel, row, column."""

    num_units: int
    nonlinearity: Nonlinearity = rectify

    def check(self) -> None:
        _check_count("num_units", self.num_units)
        _check_nonlinearity(self.nonlinearity)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.num_units,)

    def weight_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return {"W": (math.prod(input_shape), self.num_units), "b": (self.num_units,)}


@dataclass(frozen=True)
class Conv2DLayer(Layer):
    """A true convolution: the filters are flipped on both axes before they slide over the image, as in Theano."""

    num_filters: int
    filter_size: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    nonlinearity: Nonlinearity = rectify

    def check(self) -> None:
        _check_count("num_filters", self.num_filters)
        _check_pair("filter_size", self.filter_size, least=1)
        _check_pair("stride", self.stride, least=1)
        _check_pair("pad", self.pad, least=0)
        _check_nonlinearity(self.nonlinearity)
        if self.nonlinearity is softmax:
            raise DeclarationError("nonlinearity is softmax; a convolution takes rectify, tanh, sigmoid or linear.")

    def output_shape(self, input_shape: Shape) -> Shape:
        rows, columns = _output_size("filter_size", self.filter_size, self.stride, self.pad, input_shape)
        return (self.num_filters, rows, columns)

    def weight_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return {"W": (self.num_filters, input_shape[0], *self.filter_size), "b": (self.num_filters,)}


@dataclass(frozen=True)
class MaxPool2DLayer(Layer):
    """The maximum of each window; a border that does not fill a window is dropped."""

    pool_size: Pair
    stride: Pair | None = None

    def check(self) -> None:
        _check_pair("pool_size", self.pool_size, least=1)
        if self.stride is not None:
            _check_pair("stride", self.stride, least=1)

    def output_shape(self, input_shape: Shape) -> Shape:
        rows, columns = _output_size("pool_size", self.pool_size, self.stride or self.pool_size, (0, 0), input_shape)
        return (input_shape[0], rows, columns)


LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer for layer in (InputLayer, DenseLayer, Conv2DLayer, MaxPool2DLayer)
}


def layer_class(name: object) -> type[Layer]:
    """Return the layer class of this name; raise `DeclarationError` if there is none."""
    if not isinstance(name, str) or name not in LAYERS:
        raise DeclarationError(f"{name!r} is no layer; expected {', '.join(LAYERS)}.{did_you_mean(str(name), LAYERS)}")
    return LAYERS[name]


def is_whole(value: object, least: int = 1) -> TypeGuard[int]:
    """Return whether a value is a whole number of at least ``least``; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_count(option: str, value: object) -> None:
    if not is_whole(value):
        raise DeclarationError(f"{option} is {value!r}; expected a whole number from 1.")


def _check_pair(option: str, value: object, *, least: int) -> None:
    sizes = value if isinstance(value, tuple) else ()
    if len(sizes) != 2 or not all(is_whole(size, least) for size in sizes):
        raise DeclarationError(f"{option} is {value!r}; expected (rows, columns), whole numbers from {least}.")


def _check_nonlinearity(value: object) -> None:
    if value not in list(Nonlinearity):
        raise DeclarationError(
            f"nonlinearity is {value!r}; expected {', '.join(Nonlinearity)}.{did_you_mean(str(value), Nonlinearity)}"
        )


def _output_size(option: str, window: Pair, stride: Pair, pad: Pair, input_shape: Shape) -> Pair:
    """Return the rows and columns of the output of a window that slides over an image."""
    if len(input_shape) != 3:
        raise DeclarationError(
            f"the layer's input has shape {input_shape}; expected an image, (channels, height, width). Put convolution "
            "and pooling before the first DenseLayer, after an InputLayer of shape (None, channels, height, width)."
        )
    _, height, width = input_shape
    rows = (height + 2 * pad[0] - window[0]) // stride[0] + 1
    columns = (width + 2 * pad[1] - window[1]) // stride[1] + 1
    if rows < 1 or columns < 1:
        raise DeclarationError(f"{option} {window} is larger than the layer's input, {height}x{width}.")
    return rows, columns
