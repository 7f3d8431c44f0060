"""The article's table, for every engine and device: how fast each trains, and how well."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.article import ARTICLE
from pipeline.monitor import Monitor
from pipeline.network_results import NetworkResults
from pipeline.trial import Trial

JSON_NAME = "comparison.json"
TABLE_NAME = "comparison.md"
CURVES_NAME = "curves"

HEADER = (
    "Network",
    "Engine",
    "Device",
    "Seconds an epoch (quartiles)",
    "Times as long as the fastest",
    "Times as fast as the article's GPU",
    "As its 32 cores",
    "Test accuracy (range)",
)


@dataclass(frozen=True)
class Row:
    """Trainings of one network on one engine and device, from one seed or several.

    Parameters
    ----------
    epoch_seconds : float
        Median over all epochs of all seeds; ``quartiles`` are the first and the third.
    accuracy : float
        Mean test accuracy; ``accuracies`` are those of the seeds.
    speedup_gpu, speedup_cpu : float
        Times as fast as the article's GPU and its 32 CPU cores.
    """

    network: str
    engine: str
    device: str
    epoch_seconds: float
    quartiles: tuple[float, float]
    accuracy: float
    accuracies: list[float]
    speedup_gpu: float
    speedup_cpu: float


def compare(output: Path, *, trials: list[dict[str, Any]], monitor: Monitor, **results: Path) -> None:
    """Write ``comparison.json``, ``comparison.md``, and the loss curves as ``curves.png`` and ``curves.svg``.

    Parameters
    ----------
    trials : list of dict
        The fields of a `Trial` each.
    results : Path
        For the trial of each number ``trained_NUMBER`` and ``evaluated_NUMBER``, the folders of its results.
    """
    groups: dict[tuple[str, str, str], list[NetworkResults]] = {}
    for number, fields in enumerate(trials):
        trial = Trial(**fields)
        trained = NetworkResults.read(trial.network, results[f"trained_{number}"], results[f"evaluated_{number}"])
        groups.setdefault((trial.network, trial.engine, trial.device), []).append(trained)
    rows = [_row(*group, trainings) for group, trainings in groups.items()]
    data = next(iter(groups.values()))[0].metrics["data"]
    document = {"data": data, "rows": [asdict(row) for row in rows]}
    (output / JSON_NAME).write_text(json.dumps(document, indent=1) + "\n")
    text = table(rows)
    (output / TABLE_NAME).write_text(text + "\n")
    _draw_curves(output, groups)
    for line in text.splitlines():
        monitor.say(line)


def read(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return the data that was trained on, as ``metrics.json`` names it, and the rows of a ``comparison.json``."""
    document = json.loads(path.read_text())
    return document["data"], [Row(**row) for row in document["rows"]]


def table(rows: Sequence[Row]) -> str:
    """Put rows into a table in Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *cells(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Put rows into words, under `HEADER`; each is also compared with the fastest of its network."""
    best = {row.network: min(other.epoch_seconds for other in rows if other.network == row.network) for row in rows}
    return [_cells(row, best[row.network]) for row in rows]


def _cells(row: Row, best: float) -> list[str]:
    low, high = row.quartiles
    return [
        row.network.upper(),
        row.engine,
        row.device,
        f"{row.epoch_seconds:.3f} ({low:.3f} to {high:.3f})",
        f"{row.epoch_seconds / best:.1f}",
        f"{row.speedup_gpu:.1f}x",
        f"{row.speedup_cpu:.1f}x",
        f"{row.accuracy:.4f} ({min(row.accuracies):.4f} to {max(row.accuracies):.4f})",
    ]


def _row(network: str, engine: str, device: str, trainings: list[NetworkResults]) -> Row:
    seconds = [second for trained in trainings for second in trained.record.measured["epoch_seconds"]]
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (median, median, median)
    accuracies = [trained.metrics["accuracy"] for trained in trainings]
    return Row(
        network,
        engine,
        device,
        median,
        (low, high),
        statistics.fmean(accuracies),
        accuracies,
        ARTICLE[network].gpu_seconds / median,
        ARTICLE[network].cpu_seconds / median,
    )


def _draw_curves(output: Path, groups: dict[tuple[str, str, str], list[NetworkResults]]) -> None:
    """Draw the losses of each network, engines over each other: where they agree, the lines coincide."""
    from matplotlib.ticker import MaxNLocator

    from pipeline import drawing

    networks = list(dict.fromkeys(network for network, _, _ in groups))
    with drawing.styled("comparison"):
        figure = drawing.new_figure(6 * len(networks), 4)
        for axes, network in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks, strict=True):
            axes.set(title=network.upper(), xlabel="epoch", ylabel="loss")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            of_network = [group for group in groups if group[0] == network]
            for group, width in zip(of_network, (6, 4, 2, 1), strict=False):
                _draw_losses(axes, f"{group[1]} on {group[2]}", groups[group][0], width=width)
            axes.legend()
        drawing.save(figure, output, CURVES_NAME)


def _draw_losses(axes: Any, label: str, trained: NetworkResults, *, width: float) -> None:
    rows = trained.epochs
    epochs = [row["epoch"] for row in rows]
    (line,) = axes.plot(
        epochs, [row["train_loss"] for row in rows], linewidth=width, label=f"{label}, train", alpha=0.8
    )
    axes.plot(
        epochs,
        [row["valid_loss"] for row in rows],
        linewidth=width,
        linestyle="--",
        color=line.get_color(),
        label=f"{label}, valid",
        alpha=0.8,
    )
