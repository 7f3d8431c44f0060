"""Follow docs/how-to/own-data.md from the first line to the last, and train on data of many classes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from pipeline.data.cifar_writer import write_archive
from pipeline.data.dataset import GRAYSCALE_NAME, describe_dataset
from tests.checkout import STAGES
from tests.pages import Page

PAGE = Page("docs/how-to/own-data.md")


@pytest.fixture(scope="module")
def shell(clone):
    """Return what types a command of the page in a clone with an environment that ``make demo`` has set up."""
    clone.shell("make demo")
    return lambda command: clone.shell(f". .venv/bin/activate && {command}")


@pytest.mark.xdist_group("makefile")
class TestPage:
    def test_the_example(self, clone, shell):
        first, look, *others = PAGE.blocks("sh")
        program, _ = PAGE.blocks("python")
        (clone.folder / "flowers.py").write_text(program)

        printed = [shell(command) for command in first.splitlines()]

        assert printed[1] == "516 images are in flowers.tar.gz\n"
        assert f"{len(STAGES)} computed" in printed[2]
        assert "report: outputs/flowers/report.html" in printed[2]
        metrics = json.loads((clone.folder / "outputs/flowers/latest/EvaluateCNN/metrics.json").read_text())
        assert metrics["accuracy"] > 0.85
        assert [(entry["name"], entry["images"]) for entry in metrics["classes"]] == [("temple", 43), ("flower", 43)]
        assert list(clone.folder.glob("data/flowers/ConvertToHDF5/*/images.h5"))
        status, predicted = (shell(command) for command in look.splitlines())
        assert status.count(" cached ") == len(STAGES)
        assert re.fullmatch(r"piece\.png  flower 0\.\d+  temple 0\.\d+\n", predicted)
        one_epoch = [f"{command.replace(' EPOCHS=60', '')} EPOCHS=1" for command in "".join(others).splitlines()]
        titled, small = map(shell, one_epoch)
        assert "cnn on temple or flower: 344 images train, 86 validate" in titled
        assert "TrainCNN (stage 6 of 11): computed" in small

    def test_folders_of_pictures(self, clone, shell):
        _, program = PAGE.blocks("python")
        random = np.random.default_rng(0)
        for number in range(60):
            name = ["daisy", "lily", "poppy", "rose", "tulip"][number % 5]
            file = clone.folder / "photographs" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(file)
        (clone.folder / "photographs.py").write_text(program)

        shell("python photographs.py")
        shell("make pipeline DATA=photographs ARCHIVE=photographs.tar.gz EPOCHS=1")

        metrics = json.loads((clone.folder / "outputs/photographs/latest/EvaluateCNN/metrics.json").read_text())
        assert [(entry["name"], entry["images"]) for entry in metrics["classes"]] == [
            (name, 2) for name in ("daisy", "lily", "poppy", "rose", "tulip")
        ]


class TestManyClasses:
    @pytest.mark.parametrize("classes", [1, 256])
    def test_from_the_archive_to_predictions(self, checkout, classes):
        pytest.importorskip("torch")
        labels = np.arange(6 * max(classes, 5)) % classes
        images = np.random.default_rng(0).integers(0, 256, (len(labels), 3, 32, 32), np.uint8)
        write_archive(checkout.archive, images, labels, [f"class {label}" for label in range(classes)])
        Image.fromarray(images[0].transpose(1, 2, 0)).save(checkout.folder / "picture.png")

        checkout.run("--workers", "1")

        metrics = json.loads((checkout.result("EvaluateMLP") / "metrics.json").read_text())
        assert [entry["images"] for entry in metrics["classes"]] == [max(classes, 5) // classes] * classes
        described = describe_dataset(checkout.result("Grayscale2D") / GRAYSCALE_NAME)
        assert described.counts == {"train": 5 * max(classes, 5), "test": max(classes, 5)}
        for network in ("mlp", "cnn"):
            asked = ("predict", "picture.png", "--network", network, "--top", "256", "--json", "--engine", "torch")
            assert len(json.loads(checkout.pipeline(*asked))[0]["classes"]) == classes

    def test_a_declared_number_that_is_not_the_datas(self, checkout):
        checkout.edit(
            "pipeline/networks/declared.py",
            "    output_nonlinearity=softmax,",
            "    output_nonlinearity=softmax, output_num_units=3,",
        )

        checkout.run("--workers", "1", task="EvaluateMLP", status=30)

        assert (
            "holds 10 classes, and the network's last layer has 3 units. Leave output_num_units out" in checkout.output
        )
