"""The section "Learning, as a film", in a browser."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import h5py
import numpy as np
import pytest

from pipeline.data.dataset import CIFAR_TITLE, IMAGES_NAME, DatasetWriter
from pipeline.networks.declaration import Network, architecture
from pipeline.networks.layers import Conv2DLayer, DenseLayer, InputLayer, softmax
from pipeline.networks.weights import WEIGHTS_NAME, write_weights
from pipeline.progress.monitor import SILENT
from pipeline.report import report
from pipeline.report.article.runs import ARTICLE
from pipeline.report.film import LEVELS, shown_frames
from pipeline.training import evaluate
from pipeline.training.film import FILM_NAME, read_film
from pipeline.training.history import HISTORY_NAME, Epoch
from tests import small_networks
from tests.trained_networks import record_of_training

pytestmark = pytest.mark.xdist_group("film")  # they share what one fixture sets up

SIDE = 6
ENDS = {"output_nonlinearity": softmax}
DECLARED = {
    "mlp": {"layers": [("input", InputLayer), ("output", DenseLayer)], "input_shape": (None, SIDE**2), **ENDS},
    "cnn": {
        "layers": [("input", InputLayer), ("conv", Conv2DLayer), ("output", DenseLayer)],
        "input_shape": (None, 1, SIDE, SIDE),
        "conv_num_filters": 20,
        "conv_filter_size": 3,
        **ENDS,
    },
}


def write_page(folder, classes, **epochs):
    """Write a report of networks, by name with the number of their epochs, from made-up results."""
    names = [f"class {number}" for number in range(classes)]
    generator = np.random.default_rng(classes)
    labels = generator.permutation(np.repeat(np.arange(classes, dtype=np.uint8), 3))
    images = generator.integers(0, 256, (len(labels), 3, SIDE, SIDE), np.uint8)
    folders = {"images": folder / "images"}
    folders["images"].mkdir(parents=True)
    with DatasetWriter(folders["images"] / IMAGES_NAME) as writer:
        for split in ("train", "test"):
            writer.put(split, 0, images, labels, total=len(labels))
        writer.describe(CIFAR_TITLE, names, "ab" * 32)
    for name, count in epochs.items():
        trained, evaluated = folder / "trained" / name, folder / "evaluated" / name
        trained.mkdir(parents=True)
        evaluated.mkdir(parents=True)
        folders |= {f"trained_{name}": trained, f"evaluated_{name}": evaluated}
        write_training(trained, names, labels, DECLARED[name], count, generator)
        write_evaluation(evaluated, names, labels, generator)
    report.write_report(folder, networks=list(epochs), results=[], run="1", monitor=SILENT, **folders)
    return folder / report.REPORT_NAME


def write_training(folder, names, labels, declared, epochs, generator):
    declared = architecture(declared)
    network = Network.build(declared, len(names))
    write_weights(folder / WEIGHTS_NAME, small_networks.random_weights(network, seed=1))
    units = 16 if "conv/W" in network.weight_shapes else 0
    write_film(folder / FILM_NAME, labels, epochs, len(names), units, generator)
    confusion = read_film(folder / FILM_NAME).confusion
    accuracies = (np.trace(confusion, axis1=1, axis2=2) / confusion.sum((1, 2))).tolist()
    rows = [asdict(Epoch(n + 1, 2 / (n + 1), 2.5 - n / epochs, accuracies[n], 1.0)) for n in range(epochs)]
    seconds = [row.pop("seconds") for row in rows]
    (folder / HISTORY_NAME).write_text(json.dumps({"data": {"class_names": names}, "epochs": rows}))
    measured = {"epoch_seconds": seconds, "device_name": "a processor", "threads": 1}
    record_of_training(measured, declared).write(folder)


def write_film(path, labels, epochs, classes, units, generator):
    _, images = np.unique(labels, return_index=True)
    images = np.sort(images)[:10]
    confusion = np.stack(
        [generator.multinomial(1200, generator.dirichlet(np.ones(classes)), classes) for _ in range(epochs)]
    )
    with h5py.File(path, "w") as file:
        file["filters"] = generator.integers(1, 256, (epochs, units, 3, 3), np.uint8)
        file["scales"] = generator.uniform(0.1, 1, (epochs, units)).astype(np.float32)
        file["confusion"] = confusion.astype(np.uint32)
        file["images"] = images
        file["probabilities"] = generator.dirichlet(np.ones(classes), (epochs, len(images))).astype(np.float32)


def write_evaluation(folder, names, labels, generator):
    probabilities = generator.dirichlet(np.ones(len(names)), len(labels)).astype(np.float32)
    evaluate.write_predictions(folder / evaluate.PREDICTIONS_NAME, probabilities)
    metrics = evaluate.metrics(probabilities, labels, names) | {"data": {"title": CIFAR_TITLE}}
    (folder / evaluate.METRICS_NAME).write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of a CNN with filters, trained for longer than the article's, and of an MLP of two epochs without."""
    return write_page(tmp_path_factory.mktemp("films"), 10, mlp=2, cnn=60)


@pytest.fixture
def page(written, chromium):
    return opened(chromium, written)


def opened(chromium, path):
    chromium.look()
    chromium.open(path)
    chromium.wait_for("!document.querySelector('.film').hidden")
    return chromium


def move(page, epoch):
    """Move the slider to an epoch, as a pointer does."""
    page.evaluate(
        f"(() => {{ const slider = document.querySelector('.film-slider'); slider.value = {epoch - 1};"
        "  slider.dispatchEvent(new Event('input')); })()"
    )


def focus(page, selector):
    page.evaluate(f"document.querySelector('{selector}').focus()")


def title(page):
    return page.evaluate("document.querySelector('.film-title').textContent")


def texts(page, selector):
    return page.evaluate(f"[...document.querySelectorAll('{selector}')].map(element => element.textContent)")


class TestShows:
    @pytest.fixture(scope="class")
    @classmethod
    def page(cls, written, chromium):
        return opened(chromium, written)

    @pytest.fixture(params=[1, 23, 60])
    def epoch(self, page, request):
        move(page, request.param)
        return request.param

    @pytest.fixture
    def film(self, written):
        return read_film(written.parent / "trained" / "cnn" / FILM_NAME)

    def test_the_confusion_matrix(self, page, film, epoch):
        counts = film.confusion[epoch - 1]
        assert texts(page, ".film .matrix td:not(:empty)") == [str(count) for count in counts.ravel()]
        shown = page.evaluate(
            "[...document.querySelectorAll('.film .matrix tbody td')].map(cell => {"
            "  const {backgroundColor, opacity} = getComputedStyle(cell, '::before');"
            "  return [backgroundColor, Number(opacity)]; })"
        )
        np.testing.assert_allclose([depth for _, depth in shown], 0.7 * np.sqrt(counts.ravel() / 1200), rtol=1e-3)
        colors = np.array([color for color, _ in shown]).reshape(10, 10)
        assert set(colors[np.eye(10, dtype=bool)]) == {"rgb(0, 114, 178)"}
        assert set(colors[~np.eye(10, dtype=bool)]) == {"rgb(213, 94, 0)"}
        wrong = counts * (1 - np.eye(10, dtype=int))
        label, predicted = divmod(int(wrong.argmax()), 10)
        assert texts(page, ".film-confusion p") == [
            f"Most frequent mistake: class {label} classified as class {predicted}, {wrong.max():,} of 1,200."
        ]

    def test_the_filters(self, page, film, epoch):
        shown = page.evaluate(
            "[...document.querySelectorAll('.film-filters canvas')].map(canvas => {"
            "  const side = canvas.width / 3, context = canvas.getContext('2d', {willReadFrequently: true});"
            "  return Array.from({length: 9}, (_, index) => context.getImageData("
            "    (index % 3 + 0.5) * side, (Math.floor(index / 3) + 0.5) * side, 1, 1).data[0]); })"
        )
        weights = (film.filters[epoch - 1] / 127 - 128 / 127) * film.scales[epoch - 1, :, None, None]
        shares = weights / film.scales.max(0)[:, None, None]
        np.testing.assert_allclose(np.array(shown) / 127.5 - 1, shares.reshape(16, 9), atol=0.51 / LEVELS + 0.005)
        assert texts(page, ".film-layer h3") == ["Weights of 16 of 20 units of conv"]

    def test_the_test_images(self, page, film, epoch):
        names = texts(page, ".film-images figcaption > span:nth-child(odd)")
        shares = page.evaluate("[...document.querySelectorAll('.film-images data')].map(data => Number(data.value))")
        right = page.evaluate("[...document.querySelectorAll('.film-images figure')].map(figure => figure.className)")
        bold = texts(page, ".film-images strong")
        alternatives = page.evaluate("[...document.querySelectorAll('.film-images img')].map(image => image.alt)")
        for place, probabilities in enumerate(film.probabilities[epoch - 1].astype(float)):
            own = int(alternatives[place].partition("class ")[2].strip(")"))
            assert alternatives[place] == f"Test image {film.images[place]} (class {own})"
            other = max(set(range(10)) - {own}, key=lambda label: probabilities[label])
            assert names[2 * place : 2 * place + 2] == [f"class {own}", f"class {other}"]
            np.testing.assert_allclose(shares[2 * place : 2 * place + 2], probabilities[[own, other]], atol=1.01e-4)
            answer = max(own, other, key=lambda label: probabilities[label])
            assert bold[place] == f"class {answer}"
            assert right[place] == ("right" if answer == own else "wrong")

    def test_losses_and_accuracy_beside_the_articles(self, page, film, epoch):
        rows = page.evaluate(
            "[...document.querySelectorAll('.film-figures tbody tr')].map(row =>"
            "  [...row.cells].map(cell => cell.querySelector('data')?.value ?? cell.textContent))"
        )
        accuracy = np.trace(film.confusion[epoch - 1]) / film.confusion[epoch - 1].sum()
        assert rows[0][0] == "this training"
        assert [float(value) for value in rows[0][1:]] == pytest.approx(
            [2 / epoch, 2.5 - (epoch - 1) / 60, accuracy], abs=1e-6
        )
        for (name, *values), run in zip(rows[1:], ARTICLE["cnn"].runs, strict=True):
            assert name == run.label
            if epoch > len(run.epochs):
                assert values == ["\N{EN DASH}"] * 3
            else:
                row = run.epochs[epoch - 1]
                own = [row.train_loss, row.valid_loss, row.valid_accuracy]
                assert [float(value) for value in values] == pytest.approx(own, abs=1e-6)
        marks = page.evaluate(
            "[...document.querySelectorAll('.film-curves .marker')].map(line => line.x1.baseVal.value)"
        )
        assert marks == pytest.approx([38 + 356 * (epoch - 1) / 59] * 2, abs=0.1)


class TestControls:
    def test_begins_at_the_end(self, page):
        assert title(page) == "CNN, epoch 60 of 60"
        assert texts(page, ".film-play") == ["Play"]

    def test_the_slider_obeys_the_keyboard(self, page):
        focus(page, ".film-slider")
        for key, epoch in (("Home", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("End", 60)):
            page.press(key)
            assert title(page) == f"CNN, epoch {epoch} of 60"
        page.press("Home")
        spoken = page.evaluate("document.querySelector('.film-slider').getAttribute('aria-valuetext')")
        assert spoken.startswith("epoch 1 of 60: training loss 2.000, validation loss 2.500, validation accuracy ")

    def test_plays_from_the_start_until_it_is_paused(self, page):
        focus(page, ".film-play")
        page.press(" ")
        assert texts(page, ".film-play") == ["Pause"]
        page.wait_for("(frame => frame >= 2 && frame < 50)(document.querySelector('.film-slider').valueAsNumber)")
        page.press(" ")
        assert texts(page, ".film-play") == ["Play"]
        paused = title(page)
        time.sleep(0.3)
        assert title(page) == paused != "CNN, epoch 60 of 60"

    def test_stops_at_the_end(self, page):
        move(page, 58)
        focus(page, ".film-play")
        page.press(" ")
        page.wait_for("document.querySelector('.film-play').textContent === 'Play'")
        assert title(page) == "CNN, epoch 60 of 60"

    def test_the_slider_pauses(self, page):
        page.evaluate("document.querySelector('.film-play').click()")
        move(page, 30)
        time.sleep(0.3)
        assert (title(page), texts(page, ".film-play")) == ("CNN, epoch 30 of 60", ["Play"])

    def test_another_network_is_shown_at_the_same_epoch(self, page):
        move(page, 1)
        choices = "document.querySelectorAll('.film-choice input')"
        page.evaluate(f"{choices}[0].click()")
        assert title(page) == "MLP, epoch 1 of 2"
        assert not page.evaluate("document.querySelector('.film-layer').checkVisibility()"), "it has no filters"
        move(page, 2)
        page.evaluate(f"{choices}[1].click()")
        assert title(page) == "CNN, epoch 2 of 60"
        assert page.evaluate("document.querySelector('.film-layer').checkVisibility()")


class TestPage:
    def test_asks_for_nothing_and_complains_of_nothing(self, page, written):
        page.evaluate("document.querySelectorAll('.film-choice input')[0].click()")
        assert page.requests() == [written.as_uri()]
        assert page.happened("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []

    @pytest.mark.parametrize("network", [0, 1])
    def test_fits_a_phone(self, page, network):
        page.look(width=390)
        page.evaluate(f"document.querySelectorAll('.film-choice input')[{network}].click()")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("(box => box.scrollWidth - box.clientWidth)(document.querySelector('.film .matrix'))") <= 0

    def test_prints_a_still(self, page):
        page.look(medium="print")
        for part, is_printed in (
            ("slider", False),
            ("play", False),
            ("choice", False),
            ("title", True),
            ("images", True),
        ):
            assert page.evaluate(f"document.querySelector('.film-{part}').checkVisibility()") == is_printed, part

    def test_says_what_it_needs(self, chromium, written):
        chromium.call("Emulation.setScriptExecutionDisabled", value=True)
        chromium.open(written)
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)
        shown = chromium.evaluate("document.getElementById('film').innerText")
        assert "This section needs JavaScript." in shown
        assert "Play" not in shown


def test_many_classes_are_a_picture_in_the_colours_of_the_page(tmp_path, chromium):
    """30 of them, in a training so long that the film shows every other epoch."""
    page = opened(chromium, write_page(tmp_path / "many", 30, mlp=250))
    counts = read_film(tmp_path / "many" / "trained" / "mlp" / FILM_NAME).confusion[-1]
    assert title(page) == "MLP, epoch 250 of 250"
    assert page.evaluate("document.querySelectorAll('.film-choice input, .film .matrix').length") == 0
    for scheme, right in (("light", [0, 114, 178]), ("dark", [86, 180, 233])):
        page.look(scheme=scheme)
        page.wait_for(
            "(pixel => "
            f"[{', '.join(map(str, right))}].every((value, channel) => Math.abs(pixel[channel] - value) <= 8)"
            ")(document.querySelector('.film-confusion canvas').getContext('2d').getImageData(7, 7, 1, 1).data)",
        )
    opacity = page.evaluate(
        "document.querySelector('.film-confusion canvas').getContext('2d').getImageData(7, 3, 1, 1).data[3]"
    )
    assert opacity == pytest.approx(255 * 0.7 * np.sqrt(counts[3, 7] / 1200), abs=1.5)
    move(page, 2)
    assert title(page) == "MLP, epoch 3 of 250"


@pytest.mark.parametrize(
    ("epochs", "classes", "shown"),
    [
        (1, 10, [0]),
        (50, 10, list(range(50))),
        (200, 10, list(range(200))),
        (201, 10, [*range(0, 200, 2), 200]),
        (1000, 10, [*range(0, 999, 6), 999]),
        (50, 256, [*range(0, 49, 4), 49]),
    ],
)
def test_a_film_shows_at_most_200_epochs_and_always_the_first_and_the_last(epochs, classes, shown):
    assert shown_frames(epochs, classes) == shown
