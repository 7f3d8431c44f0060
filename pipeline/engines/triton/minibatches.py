"""The data that a network reads minibatch after minibatch, and the counter on the device that says which is next.

A CUDA graph replays the same launches with the same arguments, so the number of the minibatch is in device memory. The
first kernel of a step reads ``counter[NEXT]`` and copies it to ``counter[CURRENT]`` for the kernels behind it; the last
one moves `NEXT` on. No kernel reads what another program of its own launch writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.engines.engine import Examples

NEXT, CURRENT = tl.constexpr(0), tl.constexpr(1)


@dataclass(frozen=True)
class Minibatches:
    """Images on the device, ``(images, ...)``, their labels, the loss of each, and the counter of images."""

    images: Tensor
    labels: Tensor
    losses: Tensor
    counter: Tensor


def on_device(examples: Examples, channels_last: bool, device: str) -> Minibatches:
    """Copy examples to the device, images with their channels last for a network that begins with a convolution."""
    images = torch.from_numpy(examples.images).to(device)
    if channels_last:
        images = images.permute(0, 2, 3, 1).contiguous()
    labels = torch.from_numpy(examples.labels).to(device)
    counter = torch.zeros(2, dtype=torch.int64, device=device)
    return Minibatches(images, labels, torch.empty(len(examples), device=device), counter)


@triton.jit
def begin(counter: tl.tensor) -> tl.tensor:
    """Return the first image of the next minibatch, which becomes the current one."""
    first = tl.load(counter + NEXT)
    if tl.program_id(0) == 0:
        tl.store(counter + CURRENT, first)
    return first


@triton.jit
def current(counter: tl.tensor) -> tl.tensor:
    """Return the first image of the current minibatch."""
    return tl.load(counter + CURRENT)


@triton.jit
def advance(counter: tl.tensor, images: tl.tensor) -> None:
    """Make the minibatch behind the current one, of ``images`` images, the next."""
    if tl.program_id(0) == 0:
        tl.store(counter + NEXT, current(counter) + images)
