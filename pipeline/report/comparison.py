"""Compare the speed of training and the accuracy of networks on every engine and device."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.data.dataset import CIFAR_TITLE
from pipeline.progress.monitor import Monitor
from pipeline.report import drawing
from pipeline.report.article.runs import ArticleNetwork, Run, article_network
from pipeline.report.learning import engine_curves
from pipeline.report.markup import duration
from pipeline.report.network_results import NetworkResults

HEADER = [
    "Network",
    "Engine",
    "Device",
    "Seconds an epoch (quartiles)",
    "The whole training (epochs)",
    "Times as long as the fastest",
    "Test accuracy (range)",
]
ARTICLE_HEADER = ["Times as fast as the article's GPU", "As its 32 cores"]


@dataclass(frozen=True)
class Row:
    """Trainings of one network on one engine and device, from one seed or several.

    Parameters
    ----------
    epoch_seconds : float
        Median over all epochs of all seeds; ``quartiles`` are the first and the third.
    epochs : int
        Number of epochs of each training.
    training_seconds : float
        Median over the seeds of the time of all epochs together.
    accuracy : float
        Mean test accuracy over the seeds; ``accuracies`` has them all.
    """

    network: str
    engine: str
    device: str
    epoch_seconds: float
    quartiles: tuple[float, float]
    epochs: int
    training_seconds: float
    accuracy: float
    accuracies: list[float]


def compare(output: Path, *, trials: list[dict[str, Any]], monitor: Monitor, **results: Path) -> None:
    """Write ``comparison.json``, ``comparison.md``, and the curves as ``curves.png`` and ``curves.svg``.

    Parameters
    ----------
    trials : list of dict
        For each training its ``network``, ``engine``, ``device`` and ``seed``.
    results : Path
        The folders of each training's results, ``trained_NUMBER`` and ``evaluated_NUMBER``; NUMBER is its index in
        ``trials``.
    """
    groups: dict[tuple[str, str, str], list[NetworkResults]] = {}
    for number, trial in enumerate(trials):
        found = NetworkResults.read(trial["network"], results[f"trained_{number}"], results[f"evaluated_{number}"])
        groups.setdefault((trial["network"], trial["engine"], trial["device"]), []).append(found)
    rows = [_row(*group, trainings) for group, trainings in groups.items()]
    data = next(iter(groups.values()))[0].metrics["data"]
    document = {"data": data, "rows": [asdict(row) for row in rows]}
    (output / "comparison.json").write_text(json.dumps(document, indent=1) + "\n")
    text = markdown_table(rows, data["title"])
    (output / "comparison.md").write_text(text + "\n")
    with drawing.styled("comparison"):
        drawing.save(engine_curves({group: trainings[0] for group, trainings in groups.items()}), output, "curves")
    for line in text.splitlines():
        monitor.log(line)


def read_comparison(path: Path) -> tuple[dict[str, Any], list[Row]] | None:
    """Read the data, as in ``metrics.json``, and the rows of a ``comparison.json``; None if their fields are others."""
    document = json.loads(path.read_text())
    try:
        return document["data"], [Row(**row) for row in document["rows"]]
    except TypeError:  # an earlier version of this program wrote rows with other fields
        return None


def markdown_table(rows: Sequence[Row], title: str) -> str:
    """Format rows as a table in Markdown; ``title`` is the data's."""
    header, *lines = table_lines(rows, title)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *lines])


def table_lines(rows: Sequence[Row], title: str) -> list[list[str]]:
    """Format the header and the cells of rows, network by network; ``title`` is the data's.

    On the article's data, two more columns compare with the article, and its runs follow the rows of their network.
    """
    lines = [HEADER + ARTICLE_HEADER if title == CIFAR_TITLE else HEADER]
    for network in dict.fromkeys(row.network for row in rows):
        own = [row for row in rows if row.network == network]
        fastest = min(row.epoch_seconds for row in own)
        article = article_network(network, title)
        lines += [_own_cells(row, fastest) + _speedups(row.epoch_seconds, article) for row in own]
        if article:
            lines += [
                _article_cells(network, article, run, fastest) + _speedups(run.epoch_seconds, article)
                for run in article.runs
            ]
    return lines


def _own_cells(row: Row, fastest: float) -> list[str]:
    low, high = row.quartiles
    least, most = min(row.accuracies), max(row.accuracies)
    accuracy_range = f" ({least:.4f} to {most:.4f})" if len(row.accuracies) > 1 else ""
    return [
        row.network.upper(),
        row.engine,
        row.device,
        f"{row.epoch_seconds:.3f} ({low:.3f} to {high:.3f})",
        f"{duration(row.training_seconds)} ({row.epochs})",
        f"{row.epoch_seconds / fastest:.1f}",
        f"{row.accuracy:.4f}{accuracy_range}",
    ]


def _article_cells(network: str, article: ArticleNetwork, run: Run, fastest: float) -> list[str]:
    return [
        network.upper(),
        "the article's",
        run.hardware,
        f"{run.epoch_seconds:.1f}",
        f"{duration(run.seconds)} ({len(run.epochs)})",
        f"{run.epoch_seconds / fastest:.1f}",
        f"{article.accuracy:.2f} (its text)",  # the article does not name its run
    ]


def _speedups(epoch_seconds: float, article: ArticleNetwork | None) -> list[str]:
    return [f"{run.epoch_seconds / epoch_seconds:.1f}x" for run in article.runs] if article else []


def _row(network: str, engine: str, device: str, trainings: list[NetworkResults]) -> Row:
    seconds = [epoch.seconds for trained in trainings for epoch in trained.epochs]
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (median, median, median)
    accuracies = [trained.accuracy for trained in trainings]
    return Row(
        network,
        engine,
        device,
        epoch_seconds=median,
        quartiles=(low, high),
        epochs=len(trainings[0].epochs),
        training_seconds=statistics.median(trained.training_seconds for trained in trainings),
        accuracy=statistics.fmean(accuracies),
        accuracies=accuracies,
    )
