from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors import safe_open

from pipeline.data.dataset import GRAYSCALE_NAME, open_dataset
from pipeline.engines import reference
from pipeline.engines.engine import load_engine
from pipeline.errors import ExportError
from pipeline.inference.export import export
from pipeline.inference.trained_network import TrainedNetwork, read_latest_network
from pipeline.networks.declaration import Network
from tests import small_networks, trained_networks
from tests.trained_networks import command, command_with_output_to


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    for network in ("mlp", "cnn"):
        trained_networks.write_data(folder / "data" / network, network, trained_networks.color_images(300, seed=2))
        trained_networks.train(folder / "outputs", folder / "data" / network, network, epochs=3)
    return folder


def small(name):
    network = small_networks.NETWORKS[name]
    weights = small_networks.random_weights(network, seed=3)
    return TrainedNetwork(
        "small", "0123456789abcdef", network, weights, ["cat", "dog", "frog"][: network.classes], "things"
    )


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def computed(path, images):
    (probabilities,) = session(path).run(["probabilities"], {"images": images})
    return probabilities


class TestONNX:
    @pytest.mark.parametrize("network", ["mlp", "cnn"])
    def test_the_same_predictions_on_the_test_set(self, folder, tmp_path, network):
        found = read_latest_network(network, folder / "outputs")
        with open_dataset(folder / "data" / network / GRAYSCALE_NAME) as data:
            images, _ = data.read("test")
        expected = load_engine("numba").probabilities(found.network, found.weights, images)

        export.export(found, "onnx", tmp_path / "network.onnx")

        probabilities = computed(tmp_path / "network.onnx", images)
        assert probabilities == pytest.approx(expected, abs=1e-5)
        assert np.array_equal(probabilities.argmax(1), expected.argmax(1))
        assert len(np.unique(probabilities.argmax(1))) > 1

    @pytest.mark.parametrize("name", small_networks.NETWORKS)
    def test_all_that_a_declaration_may_ask(self, tmp_path, name):
        found = small(name)
        images = small_networks.random_examples(found.network, 20, seed=4).images

        export.export(found, "onnx", tmp_path / "network.onnx")

        expected = reference.probabilities(found.network, found.weights, images)
        assert computed(tmp_path / "network.onnx", images) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("count", [1, 3])
    def test_any_number_of_images(self, tmp_path, count):
        found = small("like the article's")
        export.export(found, "onnx", tmp_path / "network.onnx")

        images = small_networks.random_examples(found.network, count, seed=4).images

        assert computed(tmp_path / "network.onnx", images).shape == (count, 3)

    def test_says_what_it_is(self, tmp_path):
        found = small("odd sizes")
        export.export(found, "onnx", tmp_path / "network.onnx")

        opened = session(tmp_path / "network.onnx")
        metadata = opened.get_modelmeta()
        assert json.loads(metadata.custom_metadata_map["class_names"]) == ["cat", "dog", "frog"]
        assert Network.build(json.loads(metadata.custom_metadata_map["network"])) == found.network
        assert metadata.custom_metadata_map["key"] == "0123456789abcdef"
        assert metadata.graph_name == "small"
        assert "from -0.5, black, to 0.5, white" in metadata.description
        assert [(put.name, put.shape, put.type) for put in opened.get_inputs()] == [
            ("images", ["N", 1, 11, 7], "tensor(float)")
        ]
        assert [(put.name, put.shape) for put in opened.get_outputs()] == [("probabilities", ["N", 3])]

    def test_asks_for_an_opset_that_old_runtimes_know(self, tmp_path):
        export.export(small("stride and padding"), "onnx", tmp_path / "network.onnx")

        model = onnx.load(tmp_path / "network.onnx")
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 13)]
        assert model.ir_version == 7


class TestSafetensors:
    def test_the_weights_in_lasagnes_shapes(self, tmp_path):
        found = small("like the article's")

        export.export(found, "safetensors", tmp_path / "network.safetensors")

        with safe_open(tmp_path / "network.safetensors", "numpy") as file:
            assert set(file.keys()) == set(found.weights)
            for name, values in found.weights.items():
                assert file.get_tensor(name).dtype == np.float32
                assert np.array_equal(file.get_tensor(name), values)
            metadata = file.metadata()
        assert Network.build(json.loads(metadata["network"])) == found.network
        assert json.loads(metadata["class_names"]) == ["cat", "dog", "frog"]
        assert metadata["key"] == "0123456789abcdef"
        assert metadata["data"] == "things"
        assert "flip the filters" in metadata["layout"]


@pytest.mark.parametrize("file_format", export.FORMATS)
class TestFiles:
    def test_the_same_network_gives_the_same_bytes(self, tmp_path, file_format):
        for name in ("once", "again"):
            export.export(small("odd sizes"), file_format, tmp_path / name)

        assert (tmp_path / "once").read_bytes() == (tmp_path / "again").read_bytes()

    def test_replaces_a_file(self, tmp_path, file_format):
        export.export(small("odd sizes"), file_format, tmp_path / "expected")
        (tmp_path / "network").write_text("another")

        export.export(small("odd sizes"), file_format, tmp_path / "network")

        assert (tmp_path / "network").read_bytes() == (tmp_path / "expected").read_bytes()
        assert len(list(tmp_path.iterdir())) == 2

    def test_leaves_nothing_where_it_cannot_write(self, tmp_path, file_format):
        (tmp_path / "folder").mkdir()

        with pytest.raises(ExportError, match=r"folder is a folder; expected the name of a file"):
            export.export(small("odd sizes"), file_format, tmp_path / "folder")
        with pytest.raises(ExportError, match=r"nowhere/network cannot be written \(No such file or directory\)"):
            export.export(small("odd sizes"), file_format, tmp_path / "nowhere" / "network")

        assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]

    @pytest.mark.parametrize("there", [True, False])
    def test_follows_a_link(self, tmp_path, file_format, there):
        export.export(small("odd sizes"), file_format, tmp_path / "expected")
        (tmp_path / "folder").mkdir()
        if there:
            (tmp_path / "folder" / "network").write_text("another")
        (tmp_path / "link").symlink_to("folder/network")

        export.export(small("odd sizes"), file_format, tmp_path / "link")

        assert (tmp_path / "link").readlink() == Path("folder/network")
        assert (tmp_path / "folder" / "network").read_bytes() == (tmp_path / "expected").read_bytes()
        assert len(list((tmp_path / "folder").iterdir())) == 1

    @pytest.mark.parametrize(
        ("kind", "told"),
        [
            (stat.S_IFIFO, r"a pipe \(FIFO\)"),
            (stat.S_IFSOCK, "a socket"),
            (stat.S_IFCHR, "a character device"),
        ],
    )
    def test_leaves_alone_what_is_no_file(self, tmp_path, file_format, kind, told):
        path = tmp_path / "special"
        try:
            os.mknod(path, kind | 0o600, os.makedev(1, 3))  # as /dev/null is
        except PermissionError:
            pytest.skip("a device of its own needs root")
        before = path.stat()

        with pytest.raises(ExportError, match=f"special is {told}; expected the name of a file"):
            export.export(small("odd sizes"), file_format, path)

        assert path.stat() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_refuses_links_that_lead_to_each_other(self, tmp_path, file_format):
        (tmp_path / "one").symlink_to("two")
        (tmp_path / "two").symlink_to("one")

        with pytest.raises(ExportError, match=r"one cannot be written \(Too many levels of symbolic links\)"):
            export.export(small("odd sizes"), file_format, tmp_path / "one")


def test_a_package_that_is_missing(tmp_path, monkeypatch):
    """None in ``sys.modules`` makes Python's own import fail as for a package that is not installed."""
    monkeypatch.delitem(sys.modules, "pipeline.inference.export.onnx", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)

    with pytest.raises(ExportError, match=r"^the format onnx needs the package onnx, .* -m pip install onnx`\.$"):
        export.export(small("odd sizes"), "onnx", tmp_path / "network")

    assert not list(tmp_path.iterdir())


def test_an_unknown_format(tmp_path):
    with pytest.raises(ExportError, match=r"no format 'onx'; expected onnx or safetensors\. Did you mean 'onnx'\?"):
        export.export(small("odd sizes"), "onx", tmp_path / "network")


class TestCommand:
    def test_writes_beside_the_results(self, folder):
        status, printed, _ = command(folder, "export", "--format", "onnx")

        path = folder / "outputs" / "cnn.onnx"
        assert status == 0
        assert printed == f"outputs/cnn.onnx: cnn, 127906 parameters, {path.stat().st_size / 1e3:.0f} kB\n"
        assert json.loads(session(path).get_modelmeta().custom_metadata_map["class_names"]) == trained_networks.CLASSES

    def test_writes_another_network_where_it_is_told_to(self, folder, tmp_path):
        arguments = ["--format", "safetensors", "--network", "mlp", "--output", "mine.safetensors"]
        status, _, _ = command(tmp_path, "export", *arguments, "--outputs-dir", str(folder / "outputs"))

        assert status == 0
        with safe_open(tmp_path / "mine.safetensors", "numpy") as file:
            assert file.metadata()["name"] == "mlp"

    def test_trouble(self, tmp_path, folder):
        status, printed, complaints = command(tmp_path, "export", "--format", "onnx")
        assert (status, printed) == (1, "")
        assert complaints.startswith("there is no trained cnn in ")

        status, printed, complaints = command(folder, "export", "--format", "onnx", "--output", "")
        assert (status, printed) == (2, "")
        assert "argument --output: ''; expected the name of a file" in complaints

        status, printed, complaints = command_with_output_to(
            subprocess.PIPE, folder, "export", "--format", "onnx", "--output", "/dev/fd/1"
        )
        assert (status, printed) == (1, "")
        assert complaints.startswith("/dev/fd/1 is a pipe (FIFO); expected the name of a file")

        status, printed, complaints = command(folder, "export", "--format", "onx")
        assert (status, printed) == (1, "")
        assert "Did you mean 'onnx'?" in complaints
