"""The history of a training in the formats of other people's tools: CSV, and TensorBoard's event files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from pipeline.progress.monitor import Monitor
from pipeline.report import event_file
from pipeline.training.history import HISTORY_NAME

CSV_NAME = "history.csv"
EVENTS_NAME = "events.out.tfevents.0.history"
"""TensorBoard takes for an event file what has ``tfevents`` in its name."""

TAGS = {"train_loss": "loss/train", "valid_loss": "loss/valid", "valid_accuracy": "accuracy/valid"}
"""TensorBoard's names for the columns; it draws those with the same first part side by side."""


def write_history_files(output: Path, *, trained: Path, monitor: Monitor) -> None:
    """Write ``history.csv`` and an event file, with the rows and columns of ``history.json``.

    Parameters
    ----------
    output : Path
        The folder to write into.
    trained : Path
        The folder of a trained network.
    """
    epochs = json.loads((trained / HISTORY_NAME).read_bytes())["epochs"]
    with (output / CSV_NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["epoch", *TAGS], lineterminator="\n")
        table.writeheader()
        table.writerows(epochs)
    scalars = [(int(row["epoch"]), {tag: row[column] for column, tag in TAGS.items()}) for row in epochs]
    event_file.write(output / EVENTS_NAME, scalars)
    monitor.log(f"{CSV_NAME} and {EVENTS_NAME}: {len(epochs)} epochs")
