from __future__ import annotations

import csv
import json

import pytest

from pipeline.progress.monitor import SILENT
from pipeline.report.history_files import max_output_bytes, write_history_files
from tests.test_event_file import read

EPOCHS = [
    {"epoch": 1, "train_loss": 2.0185538, "valid_loss": 1.9063401, "valid_accuracy": 0.3316},
    {"epoch": 2, "train_loss": 1.875, "valid_loss": 1.75, "valid_accuracy": 0.375},
]


@pytest.fixture
def written(tmp_path):
    """Return a folder with the files, of a network that was trained in another."""
    trained, output = tmp_path / "trained", tmp_path / "output"
    trained.mkdir()
    output.mkdir()
    (trained / "history.json").write_text(json.dumps({"epochs": EPOCHS}))
    write_history_files(output, trained=trained, monitor=SILENT)
    return output


def test_csv_has_a_row_for_each_epoch(written):
    with (written / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == EPOCHS


def test_tensorboard_gets_a_step_for_each_epoch(written):
    scalars = read(written)
    assert set(scalars) == {"loss/train", "loss/valid", "accuracy/valid"}
    assert [(event.step, event.value) for event in scalars["loss/valid"]][1] == (2, 1.75)


@pytest.mark.parametrize("loss", [0.5, 1.9063401222229004])
@pytest.mark.parametrize("epochs", [1, 5000])
def test_the_files_have_the_maximum_size_at_most(tmp_path, epochs, loss):
    trained, output = tmp_path / "trained", tmp_path / "output"
    trained.mkdir()
    output.mkdir()
    history = [EPOCHS[0] | {"epoch": epoch, "train_loss": loss} for epoch in range(1, epochs + 1)]
    (trained / "history.json").write_text(json.dumps({"epochs": history}, indent=1))
    write_history_files(output, trained=trained, monitor=SILENT)

    assert sum(path.stat().st_size for path in output.iterdir()) <= max_output_bytes(trained=trained)
