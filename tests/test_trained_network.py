from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline import trained_network, weights
from pipeline.declaration import Network
from pipeline.errors import SettingError, StoreError, WeightsError
from pipeline.networks import declared
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
    first = trained_network.latest("mlp", outputs)
    folder = trained_networks.train(outputs, results / "data", "mlp", epochs=2)

    found = trained_network.latest("mlp", outputs)

    assert found.network == Network.from_json(declared("mlp")[0])
    assert found.class_names == trained_networks.CLASSES
    assert found.title == "random images"
    assert found.name == "mlp"
    assert found.key == folder.name != first.key
    expected = weights.read(folder / "weights.h5", found.network)
    for name, values in found.weights.items():
        assert np.array_equal(values, expected[name])
        assert name.endswith("/b") or not np.array_equal(values, first.weights[name])


def test_a_network_that_is_declared_otherwise_since_then(results, tmp_path):
    architecture = declared("mlp")[0] | {"hidden_num_units": 7}
    trained_networks.train(tmp_path, results / "data", "mlp", architecture)

    assert trained_network.latest("mlp", tmp_path).network == Network.from_json(architecture)


def test_not_trained_yet(tmp_path):
    with pytest.raises(StoreError, match=r"no trained mlp2 in .*TrainMLP2\. Type .*`luigi .* Evaluate --network mlp2`"):
        trained_network.latest("mlp2", tmp_path)


def test_an_unknown_name(tmp_path):
    with pytest.raises(SettingError, match=r"there is no network 'cn'; .* Did you mean 'cnn'\?"):
        trained_network.latest("cn", tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"data": {"title": "digits"}}', None])
def test_a_history_that_names_no_classes(outputs, content):
    path = outputs / "latest" / "TrainMLP" / "history.json"
    path.unlink()
    if content is not None:
        path.write_text(content)

    with pytest.raises(
        StoreError, match=r"history\.json does not say which classes mlp was trained on: .* Type `luigi"
    ):
        trained_network.latest("mlp", outputs)


def test_a_record_without_the_network(outputs):
    path = outputs / "latest" / "TrainMLP" / "stage.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"parameters": {}}))

    with pytest.raises(StoreError, match="damaged"):
        trained_network.latest("mlp", outputs)


def test_damaged_weights(outputs):
    (outputs / "latest" / "TrainMLP" / "weights.h5").write_bytes(b"")

    with pytest.raises(WeightsError, match=r"weights\.h5 cannot be read"):
        trained_network.latest("mlp", outputs)
