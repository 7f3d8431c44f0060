"""What of the article belongs beside a result."""

from __future__ import annotations

from pipeline.article import ARTICLE, Published
from pipeline.dataset import CIFAR_TITLE
from pipeline.outcome import Outcome


def published(network: Outcome) -> Published | None:
    """Return what the article says of a network, where it was trained on the article's data."""
    return ARTICLE.get(network.name) if network.metrics["data"]["title"] == CIFAR_TITLE else None
