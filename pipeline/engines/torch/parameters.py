"""A network's weights, their gradients and their velocities for PyTorch, each kind in one tensor.

Every weight is a view of its part, so that the update is four operations, however many layers there are.
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
"""Numbers between which a weight may start: 256 bytes in float32, as cudaMalloc aligns, or 128 in bfloat16."""


class TorchParameters:
    """What training adjusts.

    Parameters
    ----------
    weights : Weights
        Where to start.
    velocity : Weights, optional
        Lasagne's momentum accumulators; zeros where left out.
    compute_type : torch.dtype
        What layers compute in. The weights themselves and their velocities are float32 whatever it is, since
        a step is smaller than what the rounding of a narrower type would take from it.
    """

    def __init__(
        self,
        network: Network,
        weights: Weights,
        velocity: Weights | None = None,
        *,
        device: torch.device,
        compute_type: torch.dtype,
    ) -> None:
        self.compute_type = compute_type
        self._network = network
        size = sum(_padded(math.prod(shape)) for shape in network.weight_shapes.values())
        self._weights = torch.zeros(size, device=device)
        self._velocity = torch.zeros(size, device=device)
        self._fill(self._weights, weights)
        if velocity is not None:
            self._fill(self._velocity, velocity)
        self._computing = self._weights.to(compute_type)  # the same tensor where that is float32
        self._gradients = torch.zeros_like(self._computing)
        self.values = dict(self._views(self._computing))
        """The weights as layers take them, by name; filters as PyTorch correlates with them."""
        self.gradients = dict(self._views(self._gradients))
        """Where layers put the gradients of the weights."""

    def update(self, learning_rate: float, momentum: float) -> None:
        """Take Lasagne's step of Nesterov momentum: v = mu v - lr g, then p = p + mu v - lr g."""
        self._velocity.mul_(momentum).sub_(self._gradients, alpha=learning_rate)
        self._weights.add_(self._velocity, alpha=momentum).sub_(self._gradients, alpha=learning_rate)
        if self._computing is not self._weights:
            self._computing.copy_(self._weights)

    def state(self) -> list[Tensor]:
        """Return the tensors that an update changes."""
        return [self._weights, self._velocity, self._computing]

    def weights(self) -> Weights:
        """Return a copy of the weights."""
        return self._copied(self._weights)

    def velocity(self) -> Weights:
        """Return a copy of the velocities."""
        return self._copied(self._velocity)

    def _fill(self, flat: Tensor, arrays: Weights) -> None:
        for name, view in self._views(flat):
            view.copy_(_flipped(torch.from_numpy(arrays[name])))

    def _copied(self, flat: Tensor) -> Weights:
        return {name: np.array(_flipped(view).cpu().numpy(), order="C") for name, view in self._views(flat)}

    def _views(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each weight's name and its part of a flat tensor, in memory as PyTorch's own layers have it.

        A dense layer's weights lie unit by unit, which makes their gradient a quarter faster on the CPU; filters
        have their channels last.
        """
        start = 0
        for name, shape in self._network.weight_shapes.items():
            part = flat[start : start + math.prod(shape)]
            match shape:
                case [inputs, units]:
                    yield name, part.view(units, inputs).t()
                case [filters, channels, rows, columns]:
                    yield name, part.view(filters, rows, columns, channels).permute(0, 3, 1, 2)
                case _:
                    yield name, part
            start += _padded(math.prod(shape))


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _flipped(weight: Tensor) -> Tensor:
    """Turn the filters of a true convolution into those of a correlation, which PyTorch computes, or back."""
    return weight.flip(2, 3) if weight.ndim == 4 else weight
