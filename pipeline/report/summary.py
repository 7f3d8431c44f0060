"""How well the networks do, beside the article's, and how fast each engine is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import comparison
from pipeline.article.runs import TITLE, YEAR
from pipeline.dataset import Description
from pipeline.network_results import NetworkResults, counted
from pipeline.report.markup import Markup, element, number, percent, section, table


def heading(networks: Sequence[NetworkResults], data: Description) -> Markup:
    """Say what this is, and give the accuracies."""
    names = " and ".join(network.title for network in networks)
    what = (
        f"{names}, trained on {data.counts['train']:,} images in {len(data.class_names)} classes and tested on "
        f"{data.counts['test']:,} others"
    )
    beside = f", beside the article “{TITLE}” ({YEAR})" if any(network.article for network in networks) else ""
    return element(
        "header",
        element("h1", f"{data.title}, in grayscale"),
        element("p", f"{what}{beside}.", class_="lede"),
        element("div", *map(_card, networks), class_="cards"),
    )


def _card(network: NetworkResults) -> Markup:
    article = network.article
    beside = f"The article: {article.accuracy:.0%}" if article else f"{network.metrics['images']:,} test images"
    mark = element("i", style=f"left: {article.accuracy:.0%}") if article else ""
    return element(
        "div",
        element("h2", network.title),
        element("p", percent(network.accuracy, id_=f"accuracy-{network.name}"), class_="big"),
        element("p", f"of the test images recognised. {beside}."),
        element("div", element("b", style=f"width: {network.accuracy:.2%}"), mark, class_="bar", aria_hidden="true"),
        element("p", _speed(network), class_="quiet"),
        class_="card",
    )


def _speed(network: NetworkResults) -> str:
    epochs = counted(len(network.epochs), "epoch")
    own = f"{epochs} in {comparison.duration(network.training_seconds)}, {network.epoch_seconds:.2f} s an epoch"
    if not network.article:
        return f"{own}."
    gpu, cpu = (f"{len(run.epochs)} in {comparison.duration(run.seconds)}" for run in network.article.runs)
    return f"{own}. The article: {gpu} on its GPU, {cpu} on 32 CPU cores."


def results(networks: Sequence[NetworkResults]) -> Markup:
    """List the figures, beside the article's where the data is the article's."""
    header = ["Network", "Test accuracy", "Test loss", "Epochs", "Median seconds an epoch", "Trained with"]
    if any(network.article for network in networks):
        header += ["The article’s accuracy", "Its seconds an epoch on a GPU", "On 32 CPU cores"]
    return section("Results", table("Both networks", header, map(_row, networks), id="results"))


def _row(network: NetworkResults) -> list[object]:
    own = [
        network.title,
        percent(network.accuracy),
        number(network.metrics["loss"], ".4f"),
        len(network.epochs),
        number(network.epoch_seconds, ".2f"),
        network.trained_with,
    ]
    article = network.article
    if article is None:
        return own
    return [*own, f"{article.accuracy:.0%}", *(f"{run.epoch_seconds:.1f}" for run in article.runs)]


def engines(path: Path | None, archive_sha256: str) -> Markup:
    """Show the table that compares engines, if there is one and it is of these images."""
    if path is None:
        return Markup()
    found = comparison.read(path)
    if found is None or found[0]["archive_sha256"] != archive_sha256:
        return Markup()
    data, rows = found
    return section(
        "Engines compared",
        element("p", "The same declarations, images and initial weights on each engine and device."),
        table(
            "Engines and devices",
            comparison.header(data["title"]),
            comparison.cells(rows, data["title"]),
            id="comparison",
        ),
    )
