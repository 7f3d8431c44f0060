from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.dataset import GRAYSCALE_NAME, open_dataset
from pipeline.engines.engine import load_engine
from pipeline.errors import DeviceError, PictureError, SettingError
from pipeline.inference.prediction import PICTURES_AT_ONCE, Classifier, latest_classifier
from pipeline.inference.trained_network import TrainedNetwork, read_latest_network
from pipeline.networks.declaration import Network
from pipeline.progress.monitor import SILENT
from pipeline.training import evaluate
from tests import small_networks, trained_networks
from tests.trained_networks import command, command_with_output_to

TEST_IMAGES = trained_networks.color_images(12, seed=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both networks, trained; the data is there for the tests alone."""
    folder = tmp_path_factory.mktemp("prediction")
    for network in ("mlp", "cnn"):
        trained_networks.write_data(folder / "data" / network, network, TEST_IMAGES)
        trained_networks.train(folder / "outputs", folder / "data" / network, network)
    for number, image in enumerate(TEST_IMAGES):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def outputs(folder):
    return folder / "outputs"


@pytest.fixture
def files(folder):
    return [str(folder / f"{number}.png") for number in range(len(TEST_IMAGES))]


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.png"
    path.write_text("no picture")
    return str(path)


def classifier(outputs, network="cnn"):
    return latest_classifier(network, outputs, threads=1)


def by_label(predicted):
    """Probabilities, (N, classes), of predictions."""
    return np.array(
        [[dict(each.guesses)[name] for name in trained_networks.CLASSES] for each in predicted], dtype=np.float32
    )


class TestPredict:
    @pytest.mark.parametrize("network", ["mlp", "cnn"])
    def test_the_same_probabilities_as_in_the_evaluation(self, folder, outputs, files, network):
        found = read_latest_network(network, outputs)
        with open_dataset(folder / "data" / network / GRAYSCALE_NAME) as data:
            gray, _ = data.read("test")
        expected = load_engine("numba").probabilities(found.network, found.weights, gray)

        predicted = list(classifier(outputs, network).predict_many(files))

        assert np.array_equal(by_label(predicted), expected)
        assert [each.picture for each in predicted] == files

    def test_the_same_accuracy_as_in_the_evaluation(self, folder, outputs, files, tmp_path):
        data = folder / "data" / "cnn"
        found = read_latest_network("cnn", outputs)
        measured = evaluate.evaluate(
            tmp_path,
            images=data,
            trained=outputs / "latest" / "TrainCNN",
            architecture=found.network.to_json(),
            engine="numba",
            device="cpu",
            threads=1,
            monitor=SILENT,
        )

        with open_dataset(data / GRAYSCALE_NAME) as images:
            labels = images.labels("test")
        predicted = classifier(outputs).predict_many(files)
        right = [
            each.class_name == trained_networks.CLASSES[label] for each, label in zip(predicted, labels, strict=True)
        ]
        assert np.mean(right) == measured["accuracy"]

    def test_one_picture_is_as_among_many(self, outputs, files):
        one = classifier(outputs).predict(files[3])

        assert one == list(classifier(outputs).predict_many(files))[3]

    def test_guesses_are_ranked(self, outputs, files):
        guesses = classifier(outputs).predict(files[0]).guesses

        probabilities = [guess.probability for guess in guesses]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-6)
        assert sorted(guess.class_name for guess in guesses) == trained_networks.CLASSES

    def test_more_pictures_than_go_at_once(self, outputs, files):
        many = (files * 22)[: PICTURES_AT_ONCE + 7]

        predicted = list(classifier(outputs).predict_many(many))

        assert len(many) == len(predicted) == PICTURES_AT_ONCE + 7
        assert predicted[-7:] == predicted[4:11]

    def test_no_pictures(self, outputs):
        assert list(classifier(outputs).predict_many([])) == []

    def test_it_reads_as_one_line(self, outputs, files):
        predicted = classifier(outputs).predict(files[0])

        assert str(predicted) == f"{files[0]}: {predicted.class_name} {predicted.guesses[0].probability:.3f}"

    def test_on_another_engine(self, outputs, files):
        pytest.importorskip("torch")

        by_torch = latest_classifier("cnn", outputs, engine="torch", device="cpu").predict_many(files)

        assert by_label(by_torch) == pytest.approx(by_label(classifier(outputs).predict_many(files)), abs=1e-5)


class TestTrouble:
    def test_a_file_that_is_no_picture(self, outputs, files, broken):
        with pytest.raises(PictureError, match=r"broken\.png begins with"):
            list(classifier(outputs).predict_many([files[0], broken]))

    def test_it_can_be_left_out(self, outputs, files, broken):
        errors = []

        predicted = list(classifier(outputs).predict_many([files[0], broken, files[1]], on_error=errors.append))

        assert [each.picture for each in predicted] == files[:2]
        assert len(errors) == 1
        assert "broken.png begins with" in str(errors[0])

    def test_nothing_but_files_that_are_no_pictures(self, outputs, broken):
        errors = []

        assert list(classifier(outputs).predict_many([broken, broken], on_error=errors.append)) == []
        assert len(errors) == 2

    @pytest.mark.parametrize("shape", [(3, 32, 32), (12,)])
    def test_a_network_that_takes_no_pictures(self, shape):
        network: Network = small_networks.network(shape)
        weights = small_networks.random_weights(network, seed=0)

        with pytest.raises(PictureError, match=r"takes images of shape .*; expected \(1, height, width\)"):
            Classifier(TrainedNetwork("own", "0" * 16, network, weights, ["a", "b", "c"], "things"))

    def test_an_unknown_engine_or_device(self, outputs, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

        with pytest.raises(SettingError, match="engine is 'nomba'"):
            latest_classifier("cnn", outputs, engine="nomba")
        with pytest.raises(DeviceError, match="device is cuda, but"):
            latest_classifier("cnn", outputs, device="cuda")


class TestCommand:
    """Typed where there is nothing but the outputs: neither data nor settings."""

    @pytest.fixture
    def here(self, outputs, tmp_path):
        (tmp_path / "outputs").symlink_to(outputs)
        return tmp_path

    def test_a_line_for_each_picture_that_can_be_read(self, here, outputs, files, broken):
        status, printed, complaints = command(here, "predict", files[0], broken, "nothing.png", *files[1:])

        lines = printed.splitlines()
        assert status == 1
        assert [re.split("  +", line) for line in lines] == [
            [each.picture, *(f"{name} {probability:.3f}" for name, probability in each.guesses[:3])]
            for each in classifier(outputs).predict_many(files)
        ]
        assert len({line.index("class") for line in lines}) == 1
        assert [line.split()[0] for line in complaints.splitlines()[-2:]] == [broken, "nothing.png"]

    def test_what_is_no_file_is_named_and_not_waited_for(self, here, files):
        os.mkfifo(here / "pipe.png")
        status, printed, complaints = command(here, "predict", files[0], "pipe.png", "/dev/zero", ".", files[1])

        assert status == 1
        assert [line.split()[0] for line in printed.splitlines()] == files[:2]
        assert re.findall(r"^(\S+ is a [^;]+); expected the name of a PNG", complaints, re.MULTILINE) == [
            "pipe.png is a pipe (FIFO)",
            "/dev/zero is a character device",
            ". is a folder",
        ]

    def test_json(self, here, outputs, files):
        status, printed, _ = command(here, "predict", "--json", *files)

        assert status == 0
        assert json.loads(printed) == [
            {
                "picture": each.picture,
                "classes": [{"name": name, "probability": probability} for name, probability in each.guesses],
            }
            for each in classifier(outputs).predict_many(files)
        ]

    def test_flags_before_the_pictures(self, here, outputs, files):
        settings = ["--engine", "numba", "--device", "cpu", "--threads", "1", "--outputs-dir", str(outputs)]
        status, printed, _ = command(here, "predict", *settings, "--network", "mlp", "--top", "1", files[0])

        assert status == 0
        assert printed == str(classifier(outputs, "mlp").predict(files[0])).replace(": ", "  ") + "\n"

    def test_how_many_guesses(self, here, files):
        _, printed, _ = command(here, "predict", "--json", "--top", "2", files[0])

        assert [len(each["classes"]) for each in json.loads(printed)] == [2]

    def test_none_that_can_be_read(self, here, broken):
        assert command(here, "predict", broken)[:2] == (1, "")
        assert command(here, "predict", "--json", broken)[:2] == (1, "[]\n")

    def test_nothing_trained(self, tmp_path, files):
        status, printed, complaints = command(tmp_path, "predict", files[0])

        assert (status, printed) == (1, "")
        assert complaints.startswith(
            "there is no trained cnn in outputs/latest/TrainCNN. Type `luigi --module tasks Evaluate --network cnn`"
        )

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_a_full_disk_that_takes_no_answers(self, here, files, flags):
        with Path("/dev/full").open("w") as full:
            status, _, complaints = command_with_output_to(full, here, "predict", *flags, files[0])

        assert status == 1
        assert "standard output: No space left on device" in complaints

    @pytest.mark.parametrize("arguments", [("predict", "0.png"), ("export", "--format", "safetensors")])
    def test_damaged_weights(self, outputs, folder, tmp_path, arguments):
        shutil.copytree(outputs, tmp_path / "outputs", symlinks=True)
        shutil.copy(folder / "0.png", tmp_path)
        with (tmp_path / "outputs" / "latest" / "TrainCNN" / "weights.h5").open("r+b") as weights:
            weights.seek(200_000)
            weights.write(b"abcd" * 1000)

        status, printed, complaints = command(tmp_path, *arguments)

        assert (status, printed) == (1, "")
        assert complaints.startswith("outputs/latest/TrainCNN is damaged: weights.h5 has other content than it had. ")

    @pytest.mark.parametrize("top", ["0", "many"])
    def test_no_such_number_of_guesses(self, here, files, top):
        status, printed, complaints = command(here, "predict", "--top", top, files[0])

        assert (status, printed) == (2, "")
        assert "argument --top" in complaints
