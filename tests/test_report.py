from __future__ import annotations

import json
import re

import pytest

from pipeline import evaluation, report, training
from pipeline.dataset import CIFAR_TITLE
from pipeline.declaration import Network, architecture
from pipeline.layers import Conv2DLayer, DenseLayer, InputLayer, MaxPool2DLayer, softmax
from pipeline.monitor import SILENT
from pipeline.store.record import Record
from tests import small_networks

pytest.importorskip("torch")

ENDS = {"output_num_units": 3, "output_nonlinearity": softmax}
NETWORKS = {
    "mlp": architecture({"layers": [("input", InputLayer), ("output", DenseLayer)], "input_shape": (None, 12), **ENDS}),
    "cnn": architecture(
        {
            "layers": [("input", InputLayer), ("conv", Conv2DLayer), ("pool", MaxPool2DLayer), ("output", DenseLayer)],
            "input_shape": (None, 1, 6, 6),
            "conv_num_filters": 2,
            "conv_filter_size": 3,
            "pool_pool_size": 2,
            **ENDS,
        }
    ),
}


@pytest.fixture
def results(tmp_path):
    """Return a function that trains and evaluates both networks, as their stages do, and tells the folders."""

    def compute(title, test=30):
        folders = {}
        for name, declared in NETWORKS.items():
            images, trained, evaluated = (tmp_path / f"{kind} {name}" for kind in ("images", "trained", "evaluated"))
            for folder in (images, trained, evaluated):
                folder.mkdir()
            network = Network.from_json(declared)
            small_networks.write_examples(images, network, title=title, test=test)
            how = dict(architecture=declared, engine="torch", device="cpu", threads=1, monitor=SILENT)
            measured = training.train(
                trained,
                images=images,
                network=name,
                seed=3,
                epochs=2,
                learning_rate=0.05,
                momentum=0.9,
                batch_size=16,
                validation_fraction=0.2,
                **how,
            )
            record(measured).write(trained)
            evaluation.evaluate(evaluated, images=images, trained=trained, **how)
            folders |= {f"trained_{name}": trained, f"evaluated_{name}": evaluated}
        return folders

    return compute


def record(measured):
    return Record(
        stage="Train",
        key="0" * 16,
        content_key="0" * 16,
        parameters={"device": "cpu"},
        code={},
        inputs={},
        files={},
        content="",
        started="2015-01-01T00:00:00+00:00",
        seconds=1.0,
        run="1",
        host="here",
        versions={"python": "3.11.7", "numpy": "2.3.5"},
        measured=measured,
    ).sealed()


def table(text, header):
    """Return the rows of the table whose header begins with these words, cell by cell."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append(line.strip("| ").split(" | "))
    return rows


def written(tmp_path, folders):
    output = tmp_path / "report"
    output.mkdir()
    report.write(output, monitor=SILENT, **folders)
    return (output / report.REPORT_NAME).read_text()


def metrics(folders, name):
    return json.loads((folders[f"evaluated_{name}"] / "metrics.json").read_text())


def test_compares_with_the_article(tmp_path, results):
    folders = results(CIFAR_TITLE)

    text = written(tmp_path, folders)

    assert text.startswith("# CIFAR-10, in grayscale\n")
    mlp, cnn = table(text, "Network")[2:]
    assert mlp[:2] == ["MLP", f"{metrics(folders, 'mlp')['accuracy']:.4f}"]
    assert cnn[:2] == ["CNN", f"{metrics(folders, 'cnn')['accuracy']:.4f}"]
    assert mlp[3:] == ["cpu", "0.41", "0.5", "1.3"]
    assert cnn[3:] == ["cpu", "0.61", "12.8", "177"]


def test_compares_nothing_else_with_the_article(tmp_path, results):
    folders = results("small things")

    text = written(tmp_path, folders)

    assert text.startswith("# small things, in grayscale\n")
    assert "article" not in text
    assert [row[0] for row in table(text, "Network")[2:]] == ["MLP", "CNN"]
    assert {len(row) for row in table(text, "Network")} == {4}


@pytest.mark.parametrize("name", NETWORKS)
def test_shows_each_epoch_and_class(tmp_path, results, name):
    folders = results("small things")

    section = written(tmp_path, folders).split("\n## ")[1 + list(NETWORKS).index(name)]

    history = json.loads((folders[f"trained_{name}"] / "history.json").read_text())["epochs"]
    assert section.startswith(name.upper())
    assert [row[:4] for row in table(section, "Epoch")[2:]] == [
        [
            str(row["epoch"]),
            f"{row['train_loss']:.5f}",
            f"{row['valid_loss']:.5f}",
            f"{row['valid_accuracy']:.4f}",
        ]
        for row in history
    ]
    assert [row[:2] for row in table(section, "Class")[2:]] == [
        [entry["name"], str(entry["images"])] for entry in metrics(folders, name)["classes"]
    ]
    assert "seed 3" in section


def test_a_class_that_is_not_in_the_test_images(tmp_path, results):
    text = written(tmp_path, results("small things", test=1))

    absent = [row for row in table(text, "Class")[2:] if row[1] == "0"]
    assert len(absent) == 2
    assert "None" not in text
    assert "nan" not in text


def test_says_where_it_comes_from(tmp_path, results):
    text = written(tmp_path, results("small things"))

    assert re.search(r"archive with SHA-256 `(ab){32}`", text)
    assert "python 3.11.7, numpy 2.3.5" in text
