"""Write the lines below the title, the section on the results, and the section that compares engines."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.data.dataset import Description
from pipeline.report.article.runs import TITLE, YEAR
from pipeline.report.comparison import read_comparison, table_lines
from pipeline.report.markup import Markup, Section, counted, duration, element, html_table, legend, number
from pipeline.report.network_results import NetworkResults


def lede(networks: Sequence[NetworkResults], data: Description) -> str:
    """Name the networks and their data, below the title."""
    *others, last = [network.title for network in networks]
    names = f"{', '.join(others)} and {last}" if others else last
    beside = f", beside the article “{TITLE}” ({YEAR})" if any(network.article for network in networks) else ""
    return (
        f"{names}, trained on {data.counts['train']:,} images in {len(data.class_names)} classes and tested on "
        f"{data.counts['test']:,} others{beside}."
    )


def results_section(networks: Sequence[NetworkResults], previous: Mapping[str, float]) -> Section:
    """Show the results of each network, beside the previous report's and, on the article's data, the article's.

    The previous test accuracies, by network, are left out if none has changed.
    """
    has_changed = any(previous.get(network.name, network.accuracy) != network.accuracy for network in networks)
    cards = [_card(network, previous.get(network.name) if has_changed else None) for network in networks]
    return Section("results", "Results", [element("div", *cards, class_="cards"), _trainings(networks)])


def _card(network: NetworkResults, previous: float | None) -> Markup:
    article = network.article
    mark = element("i", style=f"left: {article.accuracy:.0%}") if article else ""
    return element(
        "div",
        element("h3", network.title),
        element("p", number(network.accuracy, ".2%", id=f"accuracy-{network.name}"), class_="big"),
        element("p", f"of the {network.metrics['images']:,} test images classified correctly."),
        _beside(network, previous),
        element("div", element("b", style=f"width: {network.accuracy:.2%}"), mark, class_="bar", aria_hidden="true"),
        legend(("bar-mark", f"The article: {article.accuracy:.0%}")) if article else "",
        element("p", _speed(network), class_="quiet"),
        class_="card",
    )


def _beside(network: NetworkResults, previous: float | None) -> Markup:
    if previous is None:
        return Markup()
    points = round(100 * network.accuracy, 2) - round(100 * previous, 2)
    change = f"{points:+.2f} points" if points else "the same"
    return element("p", f"Previous report: {previous:.2%}, {change}.")


def _speed(network: NetworkResults) -> str:
    own = f"{counted(len(network.epochs), 'epoch')} in {duration(network.training_seconds)}."
    if not network.article:
        return own
    gpu, cpu = (f"{len(run.epochs)} in {duration(run.seconds)}" for run in network.article.runs)
    return f"{own} The article: {gpu} on its GPU, {cpu} on 32 CPU cores."


def _trainings(networks: Sequence[NetworkResults]) -> Markup:
    has_article = any(network.article for network in networks)
    of_article = ["The article’s on its GPU", "On 32 CPU cores"] if has_article else []
    header = ["Network", "Test loss", "Epochs", "Median seconds an epoch", *of_article, "Trained with"]
    rows = []
    for network in networks:
        article, parameters, measured = network.article, network.record.parameters, network.record.measured
        device = f"{parameters['engine']} on {parameters['device']} ({measured['device_name']})"
        rows.append(
            [
                network.title,
                number(network.metrics["loss"], ".4f"),
                len(network.epochs),
                number(statistics.median(epoch.seconds for epoch in network.epochs), ".2f"),
                *([f"{run.epoch_seconds:.1f}" for run in article.runs] if article else ["–"] * len(of_article)),
                f"{device}, {counted(measured['threads'], 'thread')}",
            ]
        )
    return html_table("How they were trained", header, rows, numbers=header[1:-1], id="training")


def engines_section(path: Path | None, archive_sha256: str) -> Section | None:
    """Show the table that compares engines; None if there is no comparison on these images."""
    found = read_comparison(path) if path else None
    if found is None or found[0]["archive_sha256"] != archive_sha256:
        return None
    data, rows = found
    header, *lines = table_lines(rows, data["title"])
    note = element("p", "The same declarations, images and initial weights on each engine and device.")
    table = html_table("Engines and devices", header, lines, numbers=header[3:], id="comparison")
    return Section("engines", "Engines compared", [note, table])
