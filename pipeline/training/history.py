"""Write the history of a training: a row for each epoch, on the console and in ``history.json``."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.data.dataset import Description

HISTORY_NAME = "history.json"

TABLE_HEAD = (
    "  epoch    train loss    valid loss    train/val    valid acc      dur",
    "-------  ------------  ------------  -----------  -----------  -------",
)
"""The head of the table that nolearn prints."""


@dataclass(frozen=True)
class Epoch:
    """The results of an epoch, counted from 1.

    Losses and accuracy, from 0 to 1, are means over images; the seconds are of training and validation together.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float
    seconds: float


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """Return the first of the epochs with the highest validation accuracy."""
    return max(history, key=lambda epoch: epoch.valid_accuracy)


def table_row(history: Sequence[Epoch]) -> str:
    """Format the last epoch as a line of the table, with a mark if its validation accuracy is the highest so far."""
    epoch = history[-1]
    ratio = epoch.train_loss / epoch.valid_loss if epoch.valid_loss else math.nan
    return (
        f"{epoch.epoch:7d}  {epoch.train_loss:12.5f}  {epoch.valid_loss:12.5f}  {ratio:11.5f}"
        f"  {epoch.valid_accuracy:11.5f}  {epoch.seconds:6.2f}s"
        f"{' *' if best_epoch(history) is epoch else ''}"
    )


def write_history(path: Path, history: Sequence[Epoch], how_trained: dict[str, Any], data: Description) -> None:
    """Write ``history.json``: how the network was trained, on which data, and a row for each epoch."""
    rows = [asdict(epoch) for epoch in history]
    for row in rows:
        del row["seconds"]  # they differ from run to run, and the file must not
    document = {
        "trained": how_trained,
        "data": {"title": data.title, "class_names": data.class_names, "archive_sha256": data.archive_sha256},
        "epochs": rows,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def last_validation_accuracy(folder: Path) -> float | None:
    """Return the validation accuracy, from 0 to 1, after a training; None where the folder has no history of one."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return float(json.loads((folder / HISTORY_NAME).read_bytes())["epochs"][-1]["valid_accuracy"])
    return None
