"""Write the history of a training for other tools, as CSV and as TensorBoard's event file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from pipeline.progress.monitor import Monitor
from pipeline.report.event_file import write_events
from pipeline.training.history import HISTORY_NAME

CSV_NAME = "history.csv"
EVENTS_NAME = "events.out.tfevents.0.history"
"""TensorBoard recognises event files by ``tfevents`` in their names."""

TAGS = {"train_loss": "loss/train", "valid_loss": "loss/valid", "valid_accuracy": "accuracy/valid"}
"""TensorBoard's tags of the columns; it groups tags by their first part."""


def write_history_files(output: Path, *, trained: Path, monitor: Monitor) -> None:
    """Write ``history.csv`` and an event file, with the rows and columns of a trained network's ``history.json``."""
    epochs = json.loads((trained / HISTORY_NAME).read_bytes())["epochs"]
    with (output / CSV_NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["epoch", *TAGS], lineterminator="\n")
        table.writeheader()
        table.writerows(epochs)
    scalars = [(int(row["epoch"]), {tag: row[column] for column, tag in TAGS.items()}) for row in epochs]
    write_events(output / EVENTS_NAME, scalars)
    monitor.log(f"{CSV_NAME} and {EVENTS_NAME}: {len(epochs)} epochs")


def max_output_bytes(trained: Path, **_others: object) -> int:
    """Return the maximum output size in bytes: history.json has all of the CSV, and half of the event file at least."""
    return 3 * (trained / HISTORY_NAME).stat().st_size
