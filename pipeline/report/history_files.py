"""The history of a training in the formats of other people's tools: CSV, and TensorBoard's event files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.report import event_file

CSV_NAME = "history.csv"
EVENTS_NAME = "events.out.tfevents.0.history"
"""TensorBoard takes for an event file what has ``tfevents`` in its name."""

TAGS = {"train_loss": "loss/train", "valid_loss": "loss/valid", "valid_accuracy": "accuracy/valid"}
"""TensorBoard's names for the columns; it draws those with the same first part side by side."""


def write(folder: Path, epochs: Sequence[Mapping[str, float]]) -> None:
    """Write ``history.csv`` and an event file, with the rows and columns of ``history.json``."""
    with (folder / CSV_NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["epoch", *TAGS], lineterminator="\n")
        table.writeheader()
        table.writerows(epochs)
    scalars = [(int(row["epoch"]), {tag: row[column] for column, tag in TAGS.items()}) for row in epochs]
    event_file.write(folder / EVENTS_NAME, scalars)
