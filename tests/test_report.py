from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import scipy.signal
from matplotlib.colors import to_rgb

from pipeline.data.dataset import CIFAR_TITLE
from pipeline.networks.declaration import Network, architecture
from pipeline.networks.first_layer import first_layer_pictures
from pipeline.networks.layers import Conv2DLayer, DenseLayer, InputLayer, MaxPool2DLayer, softmax
from pipeline.networks.weights import WEIGHTS_NAME, write_weights
from pipeline.progress.monitor import SILENT
from pipeline.report import comparison, drawing, examples, learning, origin, report
from pipeline.report.architecture import filters, first_layers_section
from pipeline.report.article.runs import ARTICLE
from pipeline.report.classes import DEEPEST, confusion
from pipeline.report.graph import Box, draw
from pipeline.report.markup import VOID, Markup, element, joined
from pipeline.report.network_results import NetworkResults
from pipeline.store.record import Record
from pipeline.training import evaluate
from pipeline.training.train import train
from tests import small_networks
from tests.trained_networks import record_of_training

pytest.importorskip("torch")

ENDS = {"output_num_units": 3, "output_nonlinearity": softmax}
NETWORKS = {
    "mlp": architecture({"layers": [("input", InputLayer), ("output", DenseLayer)], "input_shape": (None, 36), **ENDS}),
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
FIGURES = {
    f"{kind}-{name}.{form}"
    for kind in ("curves", "confusion", "filters")
    for name in NETWORKS
    for form in ("png", "svg")
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return a function that trains and evaluates both networks, as their stages do, and tells the folders."""

    def compute(title="small things", test=30):
        tmp_path = tmp_path_factory.mktemp("results")
        folders = {}
        for name, declared in NETWORKS.items():
            images, trained, evaluated = (tmp_path / f"{kind} {name}" for kind in ("images", "trained", "evaluated"))
            for folder in (images, trained, evaluated):
                folder.mkdir()
            network = Network.build(declared)
            small_networks.write_examples(images, network, title=title, test=test)
            small_networks.write_colors(images, 6, 6)
            how = dict(architecture=declared, engine="torch", device="cpu", threads=1, monitor=SILENT)
            measured = train(
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
            record_of_training(measured, declared).write(trained)
            evaluate.evaluate(evaluated, images=images, trained=trained, **how)
            folders |= {f"trained_{name}": trained, f"evaluated_{name}": evaluated}
        return folders | {"images": images}

    return compute


def accuracy(folders, name):
    return json.loads((folders[f"evaluated_{name}"] / "metrics.json").read_text())["accuracy"]


def written(output, folders, networks=tuple(NETWORKS), **options):
    output.mkdir()
    how = dict(results=(), run="1", command="luigi Pipeline") | options
    report.write_report(output, networks=networks, monitor=SILENT, **how, **folders)
    return Page((output / report.REPORT_NAME).read_text())


class Page(HTMLParser):
    """The elements of a page, read as strictly as they are written: each ends, in order, and none is left open."""

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.elements = []
        self.text = ""
        self.scripts = []
        self._open = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        assert len(dict(attributes)) == len(attributes), f"{tag} has an attribute twice"
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self._open, f"{tag} ends itself outside an SVG"
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self._open[-1:] != ["style"]:
            self.text += data

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]

    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


@pytest.fixture(scope="module")
def folders(results):
    return results()


@pytest.fixture(scope="module")
def output(tmp_path_factory, folders):
    """The folder of a report on other data than the article's."""
    output = tmp_path_factory.mktemp("report") / "small things"
    written(output, folders)
    return output


@pytest.fixture(scope="module")
def page(output):
    return Page((output / "report.html").read_text())


class TestPage:
    def test_compares_with_the_article(self, tmp_path, results):
        folders = results(CIFAR_TITLE)
        page = written(tmp_path / "report", folders)
        assert page.text.count("The article: 41%") == page.text.count("The article: 61%") == 1
        assert len([mark for mark in page.all("i") if mark.get("class") == "bar-mark"]) == 2, "no legend of the mark"
        assert "The article: 50 in 10.4 min on its GPU, 50 in 2 h 27 min on 32 CPU cores." in page.text
        for name in NETWORKS:
            epochs = json.loads((folders[f"trained_{name}"] / "history.json").read_text())["epochs"]
            gpu, cpu = (
                np.mean([abs(row["train_loss"] - its.train_loss) for row, its in zip(epochs, run.epochs, strict=False)])
                for run in ARTICLE[name].runs
            )
            assert f"differs from the article\N{RIGHT SINGLE QUOTATION MARK}s by {gpu:.3f} (GPU)" in page.text
            assert f"and {cpu:.3f} (32 cores) on average" in page.text
            assert f"Validation accuracy: {epochs[-1]['valid_accuracy']:.1%} at the end" in page.text
        assert "63.1% at the end, 64.6% at best (epoch 27), on 32 cores 59.5% at the end" in page.text
        assert page.text.count("article, GPU") == page.text.count("article, 32 cores") == 2 * len(NETWORKS)

    def test_has_each_accuracy_once(self, page, folders):
        accuracies = [accuracy(folders, name) for name in NETWORKS]
        for value in accuracies:
            assert page.text.count(f"{value:.2%}") == accuracies.count(value)

    @pytest.mark.parametrize(
        ("change", "told"), [(0, []), (0.0123, ["+1.23 points"]), (-0.1, ["-10.00 points"])], ids=["same", "up", "down"]
    )
    def test_compares_with_the_previous_report(self, tmp_path, folders, change, told):
        before = accuracy(folders, "cnn") - change
        page = written(tmp_path / "report", folders, previous={"cnn": before})
        found = re.findall(r"Previous report: ([\d.]+%), (.*? points)\.", page.text)
        assert found == [(f"{before:.2%}", text) for text in told]

    def test_says_what_is_the_same_as_in_the_previous_report(self, tmp_path, folders):
        before = accuracy(folders, "cnn")
        page = written(tmp_path / "report", folders, previous={"cnn": before, "mlp": 0.99})
        assert f"Previous report: {before:.2%}, the same." in page.text

    def test_leaves_out_a_comparison_of_an_earlier_version(self, tmp_path, folders):
        """Its rows have other figures; the outputs folder may still hold it."""
        old = {"data": {"title": CIFAR_TITLE, "archive_sha256": "ab" * 32}, "rows": [{"network": "cnn", "speed": 6.4}]}
        (tmp_path / "comparison.json").write_text(json.dumps(old))
        page = written(tmp_path / "report", folders | {"comparison": tmp_path / "comparison.json"})
        assert "Engines compared" not in page.text

    def test_compares_nothing_else_with_the_article(self, page):
        assert "small things, in grayscale" in page.text
        assert "article" not in page.text

    def test_is_sound_html(self, page):
        assert page.source.startswith("<!DOCTYPE html>\n<html lang=")
        assert len(page.ids()) == len(set(page.ids()))
        assert not {"iframe", "object", "form"} & {tag for tag, _ in page.elements}
        assert all(image["alt"] for image in page.all("img"))
        assert all(svg.get("aria-hidden") or svg["aria-label"] for svg in page.all("svg"))
        assert len(page.all("caption")) == len(page.all("table"))

    def test_has_links_to_its_sections(self, page):
        sections = [section["id"] for section in page.all("section")]
        links = [link["href"].removeprefix("#") for link in page.all("a")]
        assert sections == [
            "results",
            "try-it",
            "learning",
            "film",
            "classes",
            "test-images",
            "first-layers",
            "layers",
            "pipeline",
            "recipe",
        ]
        assert links[: len(sections)] == sections, "no list of links at the top"
        assert links[len(sections) :] == sections, "a heading has no link to itself"

    def test_admits_its_own_script_and_no_other(self, page):
        [policy] = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
        digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
        assert policy.startswith("default-src 'none'; ")
        assert re.findall("script-src ([^;]*)", policy) == [f"'sha256-{digest}'"]
        programs = [attributes for attributes in page.all("script") if attributes.get("type") != "application/json"]
        assert programs == [{}], "a script has attributes, or there are several"
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]

    def test_refers_to_nothing_outside(self, page):
        for name in ("src", "href", "xlink:href"):
            for _, attributes in page.elements:
                assert attributes.get(name, "#").startswith(("data:", "#")), attributes
        assert "@import" not in page.source
        assert not re.search(r"url\((?!#)", page.source)
        assert {found[1:] for found in re.findall(r"url\((#[^)]*)", page.source)} <= set(page.ids())

    def test_escapes_what_comes_from_the_data(self, tmp_path, results):
        page = written(tmp_path / "report", results('<script>alert(1)</script> & "more"'))
        assert "alert(1)" not in page.scripts
        assert '<script>alert(1)</script> & "more", in grayscale' in page.text

    def test_a_class_that_is_not_in_the_test_images(self, tmp_path, results):
        page = written(tmp_path / "report", results(test=1))
        assert "None" not in page.text
        assert "nan" not in page.text

    def test_says_where_it_comes_from(self, page):
        assert "ab" * 32 in page.text
        assert "luigi Pipeline" in page.text

    def test_lists_every_version_of_a_library(self, tmp_path, folders):
        """An earlier run computed a result that is reused, or Theano's environment has a NumPy of its own."""
        made = Record.read(folders["trained_mlp"])
        own = {"versions": {"numpy": "1.22.4", "theano": "1.0.5"}}
        (tmp_path / "elsewhere").mkdir()
        replace(made, stage="TrainCNN", measured=made.measured | own).sealed().write(tmp_path / "elsewhere")
        page = written(tmp_path / "report", folders, results=[folders["trained_mlp"], tmp_path / "elsewhere"])
        assert "numpy 1.22.4, numpy 2.3.5, python 3.11.7, theano 1.0.5" in page.text

    def test_says_which_settings_were_changed(self, tmp_path, folders):
        settings = {
            "TrainCNN.learning_rate": "0.02",
            "DownloadCIFAR.archive": "/a.b/c.tar.gz",
            "DownloadCIFAR.sources": "\nhttps://me:s3cret@host/a\nhttps://other/a?signature=s3cret",
        }
        page = written(tmp_path / "report", folders, settings=settings)
        assert "[TrainCNN] learning_rate = 0.02" in page.text
        assert "[DownloadCIFAR] archive = /a.b/c.tar.gz" in page.text
        assert "[DownloadCIFAR] sources = https://host/a https://other/a?..." in page.text
        assert "s3cret" not in page.text

    @pytest.mark.parametrize(
        ("networks", "told"),
        [(["mlp"], "MLP"), (["cnn", "mlp"], "CNN and MLP"), (["cnn", "mlp_fitted", "mlp"], "CNN, MLP_FITTED and MLP")],
    )
    def test_has_the_networks_that_are_asked_for(self, tmp_path, folders, networks, told):
        fitted = {"trained_mlp_fitted": folders["trained_mlp"], "evaluated_mlp_fitted": folders["evaluated_mlp"]}
        page = written(tmp_path / "report", folders | fitted, networks)
        shown = [values["id"] for values in page.all("data") if values.get("id", "").startswith("accuracy-")]
        assert shown == [f"accuracy-{name}" for name in networks]
        assert f'class="lede">{told}, trained on' in page.source

    def test_on_the_articles_data_beside_a_network_that_the_article_lacks(self, tmp_path, results):
        folders = results(CIFAR_TITLE)
        fitted = {"trained_mlp_fitted": folders["trained_mlp"], "evaluated_mlp_fitted": folders["evaluated_mlp"]}
        page = written(tmp_path / "report", folders | fitted, ["cnn", "mlp_fitted"])
        assert page.text.count("The article: ") == 2, "of the CNN its accuracy and its times"
        rows = page.source.partition('id="training"')[2].partition("</table>")[0].split("<tr>")
        assert [row.count("<td") for row in rows[2:]] == [6, 6]

    def test_the_same_results_give_the_same_figures(self, tmp_path, folders, output):
        written(tmp_path / "again", folders)
        assert {path.name for path in output.iterdir()} == FIGURES | {"report.html"}
        for name in FIGURES:
            assert (output / name).read_bytes() == (tmp_path / "again" / name).read_bytes()

    def test_figures_are_files_that_stand_alone(self, output):
        for name in FIGURES:
            content = (output / name).read_bytes()
            assert content.startswith(b"\x89PNG") or ET.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"


class TestCommit:
    @pytest.fixture
    def folder(self, tmp_path):
        """A checkout with one commit."""
        (tmp_path / "pipeline").mkdir()
        (tmp_path / "pipeline" / "code.py").write_text("one")
        for command in (
            ["init", "--quiet"],
            ["add", "."],
            ["-c", "user.name=me", "-c", "user.email=me@example.org", "commit", "--quiet", "-m", "Begin"],
        ):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        return tmp_path

    def head(self, folder):
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def test_of_a_clean_checkout(self, folder):
        assert origin.commit(folder) == self.head(folder)

    def test_with_a_file_beside_the_code(self, folder):
        (folder / "flowers.tar.gz").write_text("two")
        assert origin.commit(folder) == self.head(folder)

    @pytest.mark.parametrize("name", ["pipeline/code.py", "pipeline/new.py", "luigi.cfg"])
    def test_with_changes(self, folder, name):
        (folder / name).write_text("two")
        assert origin.commit(folder) == f"{self.head(folder)} and uncommitted changes"

    def test_is_that_of_the_folder_in_a_hook_of_another_repository(self, folder, monkeypatch):
        monkeypatch.setenv("GIT_DIR", str(folder / "elsewhere"))
        found = origin.commit(folder)
        monkeypatch.delenv("GIT_DIR")
        assert found == self.head(folder)

    def test_is_unknown_without_a_checkout(self, folder):
        (folder / "inside").mkdir()
        assert origin.commit(folder / "inside") is None

    def test_is_unknown_before_the_first_commit(self, tmp_path):
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        assert origin.commit(tmp_path) is None

    def test_is_unknown_without_git(self, folder, monkeypatch):
        monkeypatch.setenv("PATH", str(folder))
        assert origin.commit(folder) is None

    @pytest.mark.parametrize("program", ["exit 128", "exec sleep 60"])
    def test_is_unknown_where_git_does_not_answer(self, folder, tmp_path, monkeypatch, program):
        git = folder / "bin" / "git"
        git.parent.mkdir()
        git.write_text(f"#!/bin/sh\n{program}\n")
        git.chmod(0o755)
        monkeypatch.setenv("PATH", f"{git.parent}:/usr/bin:/bin")
        monkeypatch.setattr(origin, "TIMEOUT", 0.5)
        assert origin.commit(folder) is None


class TestMarkup:
    def test_escapes_text_and_attributes_but_not_markup(self):
        inner = element("em", "a < b")
        assert element("p", inner, " & ", class_='"x"') == '<p class="&quot;x&quot;"><em>a &lt; b</em> &amp; </p>'
        assert isinstance(inner, Markup)

    def test_attributes(self):
        assert element("img", aria_hidden="true", hidden=True, id=None, width=0) == (
            '<img aria-hidden="true" hidden width="0">'
        )


class TestFigures:
    @pytest.mark.parametrize(
        ("epochs", "named"),
        [
            (1, [1]),
            (2, [1, 2]),
            (12, list(range(1, 13))),
            (13, [1, 2, 4, 6, 8, 10, 12]),
            (50, [1, 10, 20, 30, 40, 50]),
            (99, [1, 20, 40, 60, 80]),
            (1000, [1, 200, 400, 600, 800, 1000]),
        ],
    )
    def test_epochs_are_named_from_the_first(self, folders, epochs, named):
        trained = NetworkResults.read("mlp", *(folders[f"{kind}_mlp"] for kind in ("trained", "evaluated")))
        trained.epochs[:] = [replace(trained.epochs[0], epoch=epoch) for epoch in range(1, epochs + 1)]
        assert list(learning.network_curves(trained).axes[-1].get_xticks()) == named

    def test_every_engine_has_its_curves(self, tmp_path, folders):
        engines = [f"engine{number}" for number in range(5)]
        trials = [{"network": "mlp", "engine": engine, "device": "cpu", "seed": 1} for engine in engines]
        results = {
            f"{kind}_{number}": folders[f"{kind}_mlp"] for number in range(5) for kind in ("trained", "evaluated")
        }
        comparison.compare(tmp_path, trials=trials, monitor=SILENT, **results)
        svg = (tmp_path / "curves.svg").read_text()
        assert [engine for engine in engines if f"{engine} on cpu, train" not in svg] == []

    def test_what_is_right_and_errors_differ_in_hue(self):
        counts = [[8, 2], [5, 5]]
        classes = [{"name": "cat"}, {"name": "dog"}]
        [image] = confusion({"confusion_matrix": counts, "classes": classes}).axes[0].images
        red, _, blue, opacity = np.moveaxis(np.asarray(image.get_array()), -1, 0)
        assert ((blue > red) == np.eye(2, dtype=bool)).all()
        assert opacity[0, 0] > opacity[1, 1] == opacity[1, 0] > opacity[0, 1]

    def test_a_filter_is_shown_as_it_meets_the_image(self):
        network = Network.build(NETWORKS["cnn"])
        weights = small_networks.random_weights(network, seed=0)
        image = np.random.default_rng(0).normal(size=(6, 6))
        for shown, stored in zip(first_layer_pictures(network, weights, 100), weights["conv/W"][:, 0], strict=True):
            np.testing.assert_allclose(
                scipy.signal.correlate2d(image, shown, "valid"), scipy.signal.convolve2d(image, stored, "valid")
            )

    def test_a_unit_is_shown_as_it_meets_the_image(self):
        network = Network.build(NETWORKS["mlp"])
        weights = small_networks.random_weights(network, seed=0)
        image = np.random.default_rng(0).normal(size=(6, 6))
        shown = first_layer_pictures(network, weights, 100)
        np.testing.assert_allclose((shown * image).sum((1, 2)), image.reshape(-1) @ weights["output/W"], rtol=1e-4)

    def test_what_is_no_picture_is_not_drawn(self):
        network = small_networks.network((7,))
        assert filters(network, small_networks.random_weights(network, seed=0)) is None

    @pytest.mark.parametrize(("classes", "texts"), [(2, 4), (25, 625), (100, 0)])
    def test_a_confusion_matrix_of_many_classes_has_no_counts(self, classes, texts):
        labels = np.arange(3 * classes, dtype=np.uint8) % classes
        probabilities = np.eye(classes, dtype=np.float32)[labels[::-1]]
        metrics = evaluate.metrics(probabilities, labels, [f"class {label}" for label in range(classes)])
        with drawing.styled("test"):
            axes = confusion(metrics).axes[0]
        assert len(axes.texts) == texts

    @pytest.mark.parametrize(("units", "told"), [(1, "1 unit"), (36, "36 units"), (50, "the first 36 of 50 units")])
    def test_a_large_first_layer_is_shown_in_part_and_says_so(self, tmp_path, folders, units, told):
        network = small_networks.network((1, 6, 6), small_networks.dense(units))
        write_weights(tmp_path / WEIGHTS_NAME, small_networks.random_weights(network, seed=0))
        results = NetworkResults.read("mlp", folders["trained_mlp"], folders["evaluated_mlp"])
        page = Page(
            joined(first_layers_section([replace(results, network=network, trained=tmp_path)], tmp_path).content)
        )
        assert page.text.endswith(f"MLP, layer1: {told}")
        assert [svg["aria-label"] for svg in page.all("svg")] == [
            f"Weights of the first layer of the MLP, layer1: {told}, a square each."
        ]

    @pytest.mark.parametrize("text", ["\N{CAT FACE}", "\u732b", "\u092c\u093f\u0932\u094d\u0932\u0940"])
    def test_a_character_that_the_font_lacks_needs_no_warning(self, tmp_path, text):
        with drawing.styled("test"):
            figure = drawing.new_figure(2, 2)
            figure.subplots().set_title(text)
            drawing.save(figure, tmp_path, "title")
        assert text in (tmp_path / "title.svg").read_text()


class TestExamples:
    PREDICTIONS = examples.predictions(
        np.float32([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.05, 0.95], [0.2, 0.8]]),
        np.uint8([0, 0, 1, 1, 1, 0]),
    )

    def test_correct_ones_are_the_first_of_each_class(self):
        found = examples.first_correct_of_each_class(self.PREDICTIONS)
        assert [(example.index, example.label, example.predicted) for example in found] == [(0, 0, 0), (2, 1, 1)]

    def test_wrong_ones_begin_with_the_most_confident(self):
        found = examples.most_confidently_wrong(self.PREDICTIONS)
        assert [example.index for example in found] == [1, 5, 3]
        assert [example.confidence for example in found] == pytest.approx([0.8, 0.8, 0.7])


class TestGraph:
    def test_leaves_out_arrows_that_longer_ways_imply(self):
        boxes = [Box("a", "reused", "", ()), Box("b", "computed", "", ("a",)), Box("c", "computed", "", ("a", "b"))]
        page = Page(draw(boxes, "three"))
        assert len([path for path in page.all("path") if path.get("class") == "arrow"]) == 2
        assert [float(box["y"]) for box in page.all("rect")] == sorted({float(box["y"]) for box in page.all("rect")})

    def test_names_fit_into_their_boxes(self):
        names = ["Report", "EvaluateA_NETWORK_WITH_A_LONG_NAME"]
        page = Page(draw([Box(name, "reused", "", ()) for name in names], "two"))
        first, second = ((float(box["x"]), float(box["width"])) for box in page.all("rect"))
        assert first[1] == second[1] >= 9 * len(names[1])
        assert first[0] + first[1] < second[0]


@pytest.fixture(scope="module")
def checkout(states, tmp_path_factory):
    """A checkout in which everything has run, and after that the CNN again with another learning rate."""
    checkout = states.copy("trained", tmp_path_factory.mktemp("report") / "checkout")
    secret = ("--DownloadCIFAR-sources", "https://host/a.tar.gz?key=s3cret")  # of no use beside an archive
    told = ("--schedule-on-failure-command", "tell s3cret", "--schedule-on-failure-webhook=https://host/s3cret")
    checkout.run("--TrainCNN-learning-rate", "0.02", *secret, *told)
    return checkout


@pytest.fixture
def opened(checkout, chromium):
    chromium.look()
    chromium.open(checkout.folder / "outputs" / "report.html")
    return chromium


def values(opened, selector):
    return [
        float(value) for value in opened.evaluate(f"[...document.querySelectorAll('{selector}')].map(e => e.value)")
    ]


@pytest.mark.xdist_group("report")  # they share what one fixture sets up
class TestInABrowser:
    def test_asks_for_nothing_and_complains_of_nothing(self, opened, checkout):
        assert opened.requests() == [(checkout.folder / "outputs" / "report.html").as_uri()]
        assert opened.happened("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []

    @pytest.mark.parametrize("name", ["mlp", "cnn"])
    def test_figures_are_those_of_the_metrics(self, opened, checkout, name):
        result = json.loads((checkout.result(f"Evaluate{name.upper()}") / "metrics.json").read_text())
        row = 1 + ["mlp", "cnn"].index(name)
        assert values(opened, f"#accuracy-{name}") == [result["accuracy"]]
        assert values(opened, f"#training tbody tr:nth-child({row}) data")[0] == result["loss"]
        cells = opened.evaluate(
            "[...document.querySelectorAll('#by-class tbody tr')].map(row =>"
            "  [...row.cells].map(cell => cell.querySelector('data')?.value ?? null))"
        )
        by_class = [[figure and float(figure) for figure in line[2 * row : 2 * row + 2]] for line in cells]
        assert by_class == [[entry["recall"], entry["precision"]] for entry in result["classes"]]
        texts = opened.evaluate(f"[...document.querySelectorAll('#confusion-{name} text')].map(e => e.textContent)")
        counts = [int(text) for text in texts if text.isdecimal()]
        assert counts == list(itertools.chain(*result["confusion_matrix"]))

    def test_tells_what_was_computed_and_what_reused(self, opened, checkout):
        outcomes = checkout.history()[-1]["stages"]
        outcomes = {name: outcome for name, outcome in outcomes.items() if not name.startswith("History")}
        rows = opened.evaluate(
            "[...document.querySelectorAll('#stages tbody tr')].map(row => [...row.cells].map(e => e.textContent))"
        )
        assert {row[0]: row[1] for row in rows} == {name: outcomes[name] for name in outcomes if name != "Report"}
        assert {row[1] for row in rows} == {"computed", "reused"}
        boxes = opened.evaluate("[...document.querySelectorAll('.graph .name')].map(text => text.textContent)")
        assert sorted(boxes) == sorted(outcomes)
        assert opened.evaluate("document.querySelectorAll('.graph .arrow').length") == 9

    def test_fits_a_phone(self, opened):
        opened.look(width=390)
        assert opened.evaluate("document.documentElement.scrollWidth") <= 390

    def test_a_table_that_is_too_wide_has_a_shadow_where_more_is_hidden(self, opened):
        opened.look(width=390)
        for where, shaded in (("0", [False, True]), ("(table.scrollWidth - table.clientWidth) / 2", [True, True])):
            assert shadows(opened, where) == shaded
        assert shadows(opened, "table.scrollWidth") == [True, False]
        opened.look()
        assert shadows(opened, "0") == [False, False]

    def test_columns_of_numbers_are_aligned_at_the_right(self, opened):
        aligned = opened.evaluate(
            "[...document.querySelectorAll('table:not(.matrix table)')].flatMap(table => [...table.rows].flatMap(row =>"
            "  [...row.cells].map(cell => [table.tHead.rows[0].cells[cell.cellIndex].textContent, cell.textContent,"
            "                              getComputedStyle(cell).textAlign])))"
        )
        columns = {name for name, text, _ in aligned if re.fullmatch(r"[\d.,]+( s|%)?", text)} - {"Key"}
        assert {"Test loss", "Epochs", "Test images", "CNN precision", "Parameters", "Took"} <= columns
        assert {align for name, _, align in aligned if name in columns} == {"right"}
        assert {align for name, _, align in aligned if name in ("Stage", "Made", "Key", "Kind")} == {"left"}

    @pytest.mark.parametrize(
        ("scheme", "medium"), [("light", "screen"), ("dark", "screen"), ("light", "print"), ("dark", "print")]
    )
    def test_can_be_read_on_every_ground(self, opened, scheme, medium):
        """Text has a contrast of at least 4.5 to 1, figures of at least 3: WCAG 2.2, 1.4.3 and 1.4.11."""
        opened.look(scheme=scheme, medium=medium)
        ground = luminance(opened, "backgroundColor", "body")
        assert (ground > 0.5) == (scheme == "light" or medium == "print")
        for text in ("body", ".quiet", ".wrong strong"):
            assert contrast(luminance(opened, "color", text), ground) >= 4.5, text
        for color in ("blue", "vermilion"):
            line = luminance(opened, "stroke", f"#curves-mlp path[style*='var(--{color})']")
            assert contrast(line, ground) >= 3, color
        for hue in (drawing.BLUE, drawing.VERMILION):
            behind = color_of(opened, "backgroundColor", "body")
            deepest = DEEPEST * np.array(to_rgb(hue)) + (1 - DEEPEST) * behind
            assert contrast(luminance(opened, "color", "body"), luminance_of(deepest)) >= 4.5, hue


def shadows(opened, where):
    """Scroll the table of classes to a place; tell whether its left and its right edge are darker than the page."""
    box = opened.evaluate(
        "(() => { const table = document.querySelector('.scroll:has(#by-class)');"
        f"  table.scrollIntoView({{block: 'center'}}); table.scrollLeft = {where};"
        "  const box = table.getBoundingClientRect(); return [box.left, box.right, box.top]; })()"
    )
    left, right, top = (round(value) for value in box)
    picture = opened.picture()
    ground = picture.getpixel((2, top + 2))
    return [picture.getpixel((x, top + 2)) != ground for x in (left + 1, right - 2)]


def color_of(opened, prop, selector):
    """Return a colour as it is shown: red, green and blue from 0 to 1."""
    color = opened.evaluate(f'getComputedStyle(document.querySelector("{selector}")).{prop}')
    return np.array([int(channel) / 255 for channel in re.findall(r"\d+", color)[:3]])


def luminance(opened, prop, selector):
    return luminance_of(color_of(opened, prop, selector))


def luminance_of(color):
    """Return the relative luminance of a colour: WCAG 2.2's definition."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in color]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one, other):
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@pytest.mark.xdist_group("report")
class TestInTheOutputsFolder:
    def test_lies_there_as_a_file_and_is_the_newest(self, checkout):
        shown = checkout.folder / "outputs" / "report.html"
        assert not shown.is_symlink()
        assert shown.read_bytes() == (checkout.result("Report") / "report.html").read_bytes()

    def test_says_with_which_command_and_settings(self, checkout):
        page = Page((checkout.folder / "outputs" / "report.html").read_text())
        assert "luigi --module tasks Pipeline --DownloadCIFAR-archive" in page.text
        assert "learning_rate0.02" in page.text
        assert "[TrainCNN] learning_rate = 0.02" in page.text
        assert "[settings] device = cpu" in page.text
        assert "threads = " not in page.text
        assert "https://host/a.tar.gz?..." in page.text
        assert "s3cret" not in page.text

    def test_is_put_back_by_a_run_with_nothing_to_do(self, checkout):
        shown = checkout.folder / "outputs" / "report.html"
        newest = shown.read_bytes()
        for change in (shown.unlink, lambda: shown.write_text("something else")):
            change()
            assert set(checkout.run("--TrainCNN-learning-rate", "0.02").values()) == {"reused"}
            assert shown.read_bytes() == newest

    def test_another_outputs_folder_has_its_own(self, checkout):
        checkout.run("--outputs-dir", "elsewhere")
        assert (checkout.folder / "elsewhere" / "report.html").exists()


def test_names_the_previous_reports_accuracies(states, tmp_path):
    checkout = states.copy("better rate reported", tmp_path / "checkout")
    flags, drop = json.loads((checkout.folder / "worse.json").read_text()).values()
    checkout.run(*flags)
    page = Page((checkout.result("Report") / "report.html").read_text())
    assert f"Previous report: {checkout.accuracy('CNN') + drop:.2%}, -{100 * drop:.2f} points." in page.text


class TestNetworks:
    ONE_EPOCH = ("--Train-epochs", "1")

    def test_any_that_is_declared_can_be_in_the_report(self, states, tmp_path):
        checkout = states.copy("trained", tmp_path / "checkout")
        flags = ("--Report-networks", "mlp2, cnn,cnn_printed", *self.ONE_EPOCH)
        outcomes = checkout.run(*flags)
        others = ["TrainMLP2", "EvaluateMLP2", "TrainCNN_PRINTED", "EvaluateCNN_PRINTED", "Report"]
        others += ["HistoryMLP2", "HistoryCNN_PRINTED"]
        reused = [
            "DownloadCIFAR",
            "ConvertToHDF5",
            "GrayscaleFlat",
            "Grayscale2D",
            "TrainCNN",
            "EvaluateCNN",
            "HistoryCNN",
        ]
        assert outcomes == dict.fromkeys(others, "computed") | dict.fromkeys(reused, "reused")
        assert {row["state"] for row in checkout.status(*flags).values()} == {"cached"}
        assert set(checkout.status(*flags)) == {*others, *reused}
        page = Page((checkout.folder / "outputs" / "report.html").read_text())
        shown = [values["id"] for values in page.all("data") if values.get("id", "").startswith("accuracy-")]
        assert shown == ["accuracy-mlp2", "accuracy-cnn", "accuracy-cnn_printed"]

    def test_their_order_counts(self, trained):
        keys = {order: trained.status("--Report-networks", order) for order in ("mlp,cnn", "cnn,mlp")}
        assert trained.status()["Report"]["key"] == keys["mlp,cnn"]["Report"]["key"] != keys["cnn,mlp"]["Report"]["key"]
        assert keys["cnn,mlp"]["TrainCNN"]["key"] == keys["mlp,cnn"]["TrainCNN"]["key"]

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (
                "cmn",
                "Report.networks names 'cmn', which pipeline/networks/declared.py does not declare; expected names",
            ),
            ("cmn", "each once, of mlp, mlp_fitted, mlp2, cnn, cnn_printed. Did you mean 'cnn'?"),
            ("mlp,,cnn", "Report.networks names '', which"),
            ("mlp,cnn,mlp", "Report.networks names 'mlp' more than once; expected"),
            (" ", "Report.networks is empty; expected names with commas between them"),
        ],
    )
    @pytest.mark.parametrize("task", ["Pipeline", "Grayscale2D"])
    def test_others_are_refused(self, trained, given, told, task):
        trained.run("--Report-networks", given, task=task, status=40)
        assert told in trained.output
        assert "Traceback" not in trained.output

    def test_are_refused_as_a_setting_of_the_task_itself(self, trained):
        trained.run("--networks", "cmn", task="Report", status=40)
        assert "Report.networks names 'cmn'" in trained.output

    def test_none_is_refused_in_luigi_cfg(self, trained, tmp_path):
        config = tmp_path / "other.cfg"
        config.write_text("[Report]\nnetworks =\n")
        trained.run(status=40, LUIGI_CONFIG_PATH=str(config))
        assert "Report.networks is empty" in trained.output
