"""A network's weights, gradients and velocities for PyTorch, each in one flat tensor.

Every weight is a view into it, so the update is four operations for any number of layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.networks.declaration import Network
from pipeline.networks.weights import Weights

ALIGNMENT = 64
"""Weights start at multiples of 64 numbers: 256 bytes in float32, the alignment of cudaMalloc; 128 in bfloat16."""


class TorchParameters:
    """The weights that training adjusts, with their gradients and velocities, which are zero by default.

    Layers compute in ``compute_type``. Weights and velocities are always float32: in a narrower type, rounding would
    lose most of a step.
    """

    def __init__(
        self, network: Network, weights: Weights, velocity: Weights | None, device: str, compute_type: torch.dtype
    ) -> None:
        self.compute_type = compute_type
        self._network = network
        size = sum(_padded(math.prod(shape)) for shape in network.weight_shapes.values())
        self.weights = torch.zeros(size, device=device)
        self.velocity = torch.zeros(size, device=device)
        self._fill(self.weights, weights)
        if velocity is not None:
            self._fill(self.velocity, velocity)
        self._computing = self.weights.to(compute_type)  # the same tensor if that is float32
        self._gradients = torch.zeros_like(self._computing)
        self.values = dict(self._views(self._computing))
        """The weights by name, in the layers' type; filters are flipped for PyTorch's correlation."""
        self.gradients = dict(self._views(self._gradients))
        """The gradients of the weights by name; layers write them."""

    def update(self, learning_rate: float, momentum: float) -> None:
        """Take Lasagne's step with Nesterov momentum: v = mu v - lr g, then p = p + mu v - lr g."""
        self.velocity.mul_(momentum).sub_(self._gradients, alpha=learning_rate)
        self.weights.add_(self.velocity, alpha=momentum).sub_(self._gradients, alpha=learning_rate)
        if self._computing is not self.weights:
            self._computing.copy_(self.weights)

    def state(self) -> list[Tensor]:
        """Return the tensors that an update changes."""
        return [self.weights, self.velocity, self._computing]

    def copied(self, flat: Tensor) -> Weights:
        """Return a copy of the weights or velocities, each by its name, with filters as Lasagne has them."""
        return {name: np.array(_flipped(view).cpu().numpy(), order="C") for name, view in self._views(flat)}

    def _fill(self, flat: Tensor, arrays: Weights) -> None:
        for name, view in self._views(flat):
            view.copy_(_flipped(torch.from_numpy(arrays[name])))

    def _views(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the view of each weight in a flat tensor, in the memory layout of PyTorch's own layers.

        A dense layer's weights lie unit by unit, which makes their gradient a quarter faster on the CPU; filters have
        their channels last.
        """
        start = 0
        for name, shape in self._network.weight_shapes.items():
            values = flat[start : start + math.prod(shape)]
            match shape:
                case [inputs, units]:
                    yield name, values.view(units, inputs).t()
                case [filters, channels, rows, columns]:
                    yield name, values.view(filters, rows, columns, channels).permute(0, 3, 1, 2)
                case _:
                    yield name, values
            start += _padded(math.prod(shape))


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _flipped(weight: Tensor) -> Tensor:
    """Flip filters: a true convolution is the correlation, which PyTorch computes, with flipped filters."""
    return weight.flip(2, 3) if weight.ndim == 4 else weight
