"""One training among those that are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """A network, what trained it, and from which seed."""

    network: str
    engine: str
    device: str
    seed: int
