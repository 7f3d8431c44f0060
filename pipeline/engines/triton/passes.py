"""The kernels of a network on a data set: a forward pass, and a whole step of training.

A step has a forward kernel for each layer but the last, one for the last layer and the loss, a backward kernel for each
layer but the last and a first dense one, and one that updates all weights: 10 for the article's CNN, 3 for its MLP.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from pipeline.engines.triton.blocks import Blocks
from pipeline.engines.triton.convolution import Convolution
from pipeline.engines.triton.dense import MOST_PARTS, Dense
from pipeline.engines.triton.minibatches import Minibatches
from pipeline.engines.triton.output import Output
from pipeline.engines.triton.parameters import Parameters
from pipeline.engines.triton.update import update
from pipeline.engines.triton.values import Values
from pipeline.errors import EngineError
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.layers import Conv2DLayer

OFFSETS = 2**31 - 2**14
"""Values that 32-bit offsets reach: not the last 16384, because the last block may end behind the last value."""


class ForwardPass:
    """The kernels that evaluate up to ``size`` images at a time, which they take from the data in turn."""

    def __init__(self, parameters: Parameters, data: Minibatches, size: int, precision: str, blocks: Blocks) -> None:
        _check_values("the weights have", parameters.values.numel(), "Take smaller layers")
        self._data = data
        self._hidden: list[Convolution | Dense] = []
        values = Values(data.images, data.images, biases=data.images, is_data=True)
        *hidden, last = parameters.layers
        for layer in hidden:
            kind = Convolution if isinstance(layer.entry.layer, Conv2DLayer) else Dense
            self._hidden.append(kind(layer, values, parameters, size, precision, blocks))
            values = self._hidden[-1].outputs
        self._output = Output(last, values, parameters, size, precision, blocks)

    def logits(self, images: int) -> Tensor:
        """Return the logits of the next images, shape (images, classes)."""
        for layer in (*self._hidden, self._output):
            layer.forward(self._data, images)
        self._data.counter[0] += images
        outputs = self._output.outputs
        sums = outputs.tensor.flatten()[: outputs.parts * images * self._output.layer.units]
        return sums.view(outputs.parts, images, -1).sum(0) + outputs.biases


class Steps(ForwardPass):
    """The kernels that take steps of training on minibatches of up to ``size`` images."""

    def __init__(self, parameters: Parameters, data: Minibatches, size: int, precision: str, blocks: Blocks) -> None:
        super().__init__(parameters, data, size, precision, blocks)
        self._parameters = parameters
        self._blocks = blocks
        first = self._hidden[0] if self._hidden else None
        self._first_dense = first if isinstance(first, Dense) else None
        # Nothing but the update needs the gradient of a first dense layer, so the update computes it itself.
        with_gradients = [*self._hidden[self._first_dense is not None :], self._output]
        sizes = (layer.gradient_parts(size) * layer.layer.size for layer in with_gradients)
        *starts, total = itertools.accumulate(sizes, initial=0)
        of_weights = f"the weights' gradients for a minibatch of {size:,} images have"
        _check_values(of_weights, total, "Take smaller minibatches or layers")
        self._with_gradients = list(zip(with_gradients, starts, strict=True))
        self._gradients = parameters.values.new_zeros(total)

    def step(self, images: int, hyperparameters: Hyperparameters, blocks: Tensor) -> None:
        """Take a step on the next images; ``blocks`` are those of `blocks`."""
        for layer in self._hidden:
            layer.forward(self._data, images)
        *hidden, (_, of_output) = self._with_gradients
        self._output.loss_and_gradients(self._data, images, self._gradients[of_output:])
        for layer, start in reversed(hidden):
            layer.backward(self._data, images, self._gradients[start:])
        self._update(images, hyperparameters, blocks)

    def _update(self, images: int, hyperparameters: Hyperparameters, blocks: Tensor) -> None:
        first = self._first_dense
        tiles = first.weight_tiles() if first else 0
        update[(tiles + len(blocks),)](
            self._parameters.values, self._parameters.velocities, self._parameters.transposed, self._gradients, blocks,
            self._data.counter, images,
            hyperparameters.learning_rate, hyperparameters.momentum,
            self._data.images, first.outputs.gradients if first else self._gradients, tiles,
            first.shape if first else None, self._blocks.columns, self._blocks.updated,
        )  # fmt: skip

    def blocks(self, images: int) -> Tensor:
        """Return a row for each block of weights that a step on so many images updates: see `update.update`."""
        rows = [
            (
                *(layer.layer.start, first, start + first, layer.layer.size, layer.gradient_parts(images)),
                *(layer.layer.units, layer.layer.channels, layer.layer.fan_in * layer.layer.units),
            )
            for layer, start in self._with_gradients
            for first in range(0, layer.layer.size, self._blocks.updated)
        ]
        return torch.tensor(rows, dtype=torch.int32, device=self._gradients.device)


def largest_minibatch(parameters: Parameters) -> int:
    """Return for how many images the kernels' 32-bit offsets reach every value of every layer."""
    return (OFFSETS - 1) // _values_of_an_image(parameters)


def check_size(parameters: Parameters, size: int) -> None:
    """Raise `EngineError` for minibatches larger than `largest_minibatch`."""
    if size > largest_minibatch(parameters):
        raise EngineError(
            f"a minibatch of {size:,} images has {size * _values_of_an_image(parameters):,} values in a layer; the "
            f"kernels of the triton engine reach {OFFSETS - 1:,}. Take minibatches of at most "
            f"{largest_minibatch(parameters):,} images, or --engine torch."
        )


def _values_of_an_image(parameters: Parameters) -> int:
    """Return the most values that a layer has for an image; a dense layer has its sums in up to 16 parts."""
    values = []
    for layer in parameters.layers:
        parts = 1 if isinstance(layer.entry.layer, Conv2DLayer) else MOST_PARTS
        values += [math.prod(layer.entry.input_shape), math.prod(layer.entry.output_shape) * parts]
    return max(values)


def _check_values(subject: str, values: int, advice: str) -> None:
    if values >= OFFSETS:
        raise EngineError(
            f"{subject} {values:,} values; the kernels of the triton engine reach {OFFSETS - 1:,}. {advice}, "
            "or --engine torch."
        )
