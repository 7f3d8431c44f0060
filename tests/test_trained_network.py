from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import SettingError, StoreError
from pipeline.files.digests import file_digest
from pipeline.inference.trained_network import read_latest_network
from pipeline.networks.declaration import Network
from pipeline.networks.declared import find_network
from pipeline.networks.weights import read_weights
from pipeline.store.record import Record
from tests import trained_networks


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    trained_networks.write_data(folder / "data", "mlp", trained_networks.color_images(4))
    trained_networks.train(folder / "outputs", folder / "data", "mlp")
    return folder


@pytest.fixture
def outputs(results, tmp_path):
    """A result of its own for a test, and nothing else: no data."""
    trained_networks.train(tmp_path / "outputs", results / "data", "mlp")
    return tmp_path / "outputs"


def test_the_network_that_was_trained_last(outputs, results):
    first = read_latest_network("mlp", outputs)
    folder = trained_networks.train(outputs, results / "data", "mlp", epochs=2)

    found = read_latest_network("mlp", outputs)

    assert found.network == Network.build(find_network("mlp").architecture, classes=10)
    assert found.class_names == trained_networks.CLASSES
    assert found.title == "random images"
    assert found.name == "mlp"
    assert found.key == folder.name != first.key
    expected = read_weights(folder / "weights.h5", found.network)
    for name, values in found.weights.items():
        assert np.array_equal(values, expected[name])
        assert name.endswith("/b") or not np.array_equal(values, first.weights[name])


def test_a_network_that_is_declared_otherwise_since_then(results, tmp_path):
    architecture = find_network("mlp").architecture | {"hidden_num_units": 7}
    trained_networks.train(tmp_path, results / "data", "mlp", architecture)

    assert read_latest_network("mlp", tmp_path).network == Network.build(architecture, classes=10)


def test_not_trained_yet(tmp_path):
    with pytest.raises(StoreError, match=r"no trained mlp2 in .*TrainMLP2\. Type .*`luigi .* Evaluate --network mlp2`"):
        read_latest_network("mlp2", tmp_path)


def test_an_unknown_name(tmp_path):
    with pytest.raises(SettingError, match=r"there is no network 'cn'; .* Did you mean 'cnn'\?"):
        read_latest_network("cn", tmp_path)


def write_history(folder, text):
    """Have a result hold another history, and its record say so."""
    path = folder / "history.json"
    path.write_text(text)
    record = Record.read(folder)
    written = {path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}}
    replace(record, files=record.files | written).sealed().write(folder)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"data": {"title": "digits"}}', '{"data": {"title": "digits", "class_names": []}}'],
)
def test_a_history_that_names_no_classes(outputs, content):
    write_history(outputs / "latest" / "TrainMLP", content)

    with pytest.raises(StoreError, match=r"history\.json lacks the names of the classes, .* Type `luigi"):
        read_latest_network("mlp", outputs)


def test_a_record_without_the_network(outputs):
    path = outputs / "latest" / "TrainMLP" / "stage.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"parameters": {}}))

    with pytest.raises(StoreError, match="damaged"):
        read_latest_network("mlp", outputs)


def missing(path):
    path.unlink()


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-1])


def overwritten(path):
    """The file is as long as before, and can be read as before."""
    content = path.read_bytes().replace(b"class a", b"class z")
    if path.suffix == ".h5":
        content = content[:200_000] + b"abcd" * 1000 + content[204_000:]
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["weights.h5", "history.json"])
@pytest.mark.parametrize(
    ("damage", "told"),
    [(missing, "is missing"), (cut_off, r"has \d+ bytes, not \d+"), (overwritten, "has other content than it had")],
)
def test_a_damaged_file(outputs, name, damage, told):
    damage(outputs / "latest" / "TrainMLP" / name)

    with pytest.raises(
        StoreError, match=rf"TrainMLP is damaged: {name} {told}\. Type `make verify`, .* `luigi .* --network mlp`"
    ):
        read_latest_network("mlp", outputs)
