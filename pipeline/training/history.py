"""The history of a training: a row for each epoch, on the console and in ``history.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.data import dataset

HISTORY_NAME = "history.json"

TABLE_HEAD = (
    "  epoch    train loss    valid loss    train/val    valid acc      dur",
    "-------  ------------  ------------  -----------  -----------  -------",
)
"""The table that nolearn prints."""


@dataclass(frozen=True)
class Epoch:
    """A row of the table: losses and accuracy are means over images."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float


def table_row(history: Sequence[Epoch], seconds: float) -> str:
    """Put the last epoch into a line, with a mark where none before it was as accurate on the validation images."""
    epoch = history[-1]
    ratio = epoch.train_loss / epoch.valid_loss if epoch.valid_loss else math.nan
    return (
        f"{epoch.epoch:7d}  {epoch.train_loss:12.5f}  {epoch.valid_loss:12.5f}  {ratio:11.5f}"
        f"  {epoch.valid_accuracy:11.5f}  {seconds:6.2f}s"
        f"{' *' if best_epoch(history) is epoch else ''}"
    )


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """Return the first of the epochs with the highest validation accuracy."""
    return max(history, key=lambda epoch: epoch.valid_accuracy)


def write_history(path: Path, history: list[Epoch], how_trained: dict[str, Any], data: dataset.Description) -> None:
    """Write ``history.json``: how the network was trained, on which data, and a row for each epoch."""
    document = {
        "trained": how_trained,
        "data": {"title": data.title, "class_names": data.class_names, "archive_sha256": data.archive_sha256},
        "epochs": [asdict(epoch) for epoch in history],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
