from __future__ import annotations

import pytest

from pipeline.errors import DeclarationError, SettingError
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.declared import NETWORKS, find_network


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [2, 10, 100, 256])
def test_every_network_takes_as_many_classes_as_there_are(name, classes):
    architecture, _ = find_network(name)

    assert Network.build(architecture, classes).classes == classes


@pytest.mark.parametrize(
    ("name", "input_shape", "parameters", "how"),
    [
        ("mlp", (1024,), 103_510, Hyperparameters(0.01, 0.9, epochs=50)),
        ("mlp2", (1024,), 113_610, Hyperparameters(0.01, 0.9, epochs=50)),
        ("mlp_fitted", (1024,), 103_510, Hyperparameters(0.015, 0.9, epochs=50)),
        ("cnn", (1, 32, 32), 127_906, Hyperparameters(0.005, 0.9, epochs=50)),
        ("cnn_printed", (1, 32, 32), 127_906, Hyperparameters(0.015, 0.9, epochs=5)),
    ],
)
def test_the_articles_numbers(name, input_shape, parameters, how):
    architecture, hyperparameters = find_network(name)
    network = Network.build(architecture, classes=10)

    assert network.input_shape == input_shape
    assert network.parameter_count == parameters
    assert hyperparameters == how


def test_the_cnns_shapes():
    network = Network.build(find_network("cnn").architecture, classes=10)

    assert [layer.output_shape for layer in network.layers] == [
        (1, 32, 32),
        (16, 30, 30),
        (16, 15, 15),
        (32, 14, 14),
        (32, 7, 7),
        (64, 6, 6),
        (64, 3, 3),
        (200,),
        (10,),
    ]


@pytest.mark.parametrize("name", ["CNN", "a/b", "..", "", "my net", "2nd", "caf\u00e9", "cnn\n"])
def test_refuses_names_that_make_no_folder_of_their_own(monkeypatch, name):
    monkeypatch.setitem(NETWORKS, name, NETWORKS["mlp"])

    with pytest.raises(DeclarationError, match=r"^a network is called .*; expected small letters, digits and _"):
        find_network(name)


def test_suggests_a_network():
    with pytest.raises(
        SettingError,
        match=r"^there is no network 'cn'; .* mlp, mlp_fitted, mlp2, cnn, cnn_printed\. Did you mean 'cnn'\?$",
    ):
        find_network("cn")
