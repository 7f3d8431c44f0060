from __future__ import annotations

import csv

from pipeline.report import history_files
from tests.test_event_file import read

EPOCHS = [
    {"epoch": 1, "train_loss": 2.0185538, "valid_loss": 1.9063401, "valid_accuracy": 0.3316},
    {"epoch": 2, "train_loss": 1.875, "valid_loss": 1.75, "valid_accuracy": 0.375},
]


def test_csv_has_a_row_for_each_epoch(tmp_path):
    history_files.write(tmp_path, EPOCHS)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == EPOCHS


def test_tensorboard_gets_a_step_for_each_epoch(tmp_path):
    history_files.write(tmp_path, EPOCHS)
    scalars = read(tmp_path)
    assert set(scalars) == {"loss/train", "loss/valid", "accuracy/valid"}
    assert [(event.step, event.value) for event in scalars["loss/valid"]][1] == (2, 1.75)
