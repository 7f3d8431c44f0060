"""Compare the logits of a minibatch with its labels on the device, by operations that a CUDA graph can record."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, PyTorch's own name for it
from torch import Tensor

from pipeline.engines.engine import Validation
from pipeline.networks.arrays import DoubleArray


def result_count(classes: int) -> int:
    """Return how many numbers `loss_and_confusion` returns."""
    return 1 + classes**2


def loss_and_confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the losses, then the confusion matrix row by row, in the type of the logits.

    Logits have the shape (N, classes), labels are int64, (N,). The counts do not depend on the order in which a GPU
    adds up: whole numbers are exact, in float32 up to 2**24.
    """
    classes = logits.shape[1]
    places = labels * classes + logits.argmax(1)
    counts = logits.new_zeros(classes**2).scatter_add_(0, places, logits.new_ones(len(labels)))
    return torch.cat([F.cross_entropy(logits, labels, reduction="sum").unsqueeze(0), counts])


def validation(totals: DoubleArray) -> Validation:
    """Return the validation from the sum over all minibatches of what `loss_and_confusion` returns."""
    classes = math.isqrt(len(totals) - 1)
    confusion = totals[1:].astype(np.int64).reshape(classes, classes)
    return Validation(float(totals[0] / confusion.sum()), confusion)
