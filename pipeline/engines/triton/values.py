"""What a layer reads: values, or the sums of a dense layer before its bias and nonlinearity."""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True)
class Values:
    """Values of a minibatch on the device, and where their gradients go.

    With ``parts`` they are the sums of a dense layer, ``(parts, images, units)``, which each reader adds up itself,
    with the biases and through the nonlinearity. So a dense layer can spread its sums over many programs and needs no
    second kernel that adds the parts. Without, they are ``(images, ...)``; for ``is_data`` images of the data set.
    """

    tensor: Tensor
    gradients: Tensor
    biases: Tensor
    parts: int = 0
    is_rectified: bool = False
    is_data: bool = False


@dataclass(frozen=True)
class Shape:
    """The sizes of a dense layer, and how it reads its inputs: see `Values`."""

    inputs: int
    units: int
    parts: int
    is_rectified: bool
    is_first: bool
    precision: str


@triton.jit
def before_nonlinearity(
    values: tl.tensor,
    biases: tl.tensor,
    n: tl.tensor,
    k: tl.tensor,
    is_value: tl.tensor,
    images: tl.tensor,
    SHAPE: tl.constexpr,
) -> tl.tensor:
    """Return value k of image n, before the nonlinearity of the layer that computed it.

    ``n`` and ``k`` broadcast against each other.
    """
    PARTS: tl.constexpr = SHAPE.parts
    if PARTS == 0:
        return tl.load(values + n * SHAPE.inputs + k, is_value, 0.0)
    total = tl.load(biases + k, is_value, 0.0)
    for part in tl.static_range(PARTS):
        total += tl.load(values + (part * images + n) * SHAPE.inputs + k, is_value, 0.0)
    return total


@triton.jit
def rectified(before: tl.tensor, SHAPE: tl.constexpr) -> tl.tensor:
    """Return max(x, 0) where the inputs are rectified."""
    if SHAPE.is_rectified:
        before = tl.maximum(before, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return before


@triton.jit
def times_slope(gradient: tl.tensor, before: tl.tensor, SHAPE: tl.constexpr) -> tl.tensor:
    """Multiply by the slope of (x + abs(x)) / 2 where the inputs are rectified: one half at exactly 0."""
    if SHAPE.is_rectified:
        gradient = tl.where(before > 0, gradient, tl.where(before == 0, 0.5 * gradient, 0.0))
    return gradient
