"""What the article says of its networks."""

from __future__ import annotations

from dataclasses import dataclass

TITLE, YEAR = "Faster deep learning with GPUs and Theano", 2015


@dataclass(frozen=True)
class ArticleFigures:
    """Test accuracy of a network, and seconds an epoch on the article's GPU and on its 32 CPU cores."""

    accuracy: float
    gpu_seconds: float
    cpu_seconds: float


ARTICLE = {"mlp": ArticleFigures(0.41, 0.5, 1.3), "cnn": ArticleFigures(0.61, 12.8, 177.0)}
"""Its figures, by network."""
