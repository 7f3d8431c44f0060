"""Rank the settings of a sweep: a table as CSV, JSON and Markdown, and figures of accuracy."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from pipeline.errors import StoreError
from pipeline.progress.monitor import Monitor
from pipeline.report import drawing
from pipeline.report.drawing import plot
from pipeline.report.markup import Section, counted, duration, element, html_table, named, value_text
from pipeline.report.sweep_figures import Curve, accuracy_figure, curves_figure
from pipeline.store.record import Record
from pipeline.training.evaluate import METRICS_NAME
from pipeline.training.history import HISTORY_NAME

SETTINGS = (
    "network",
    "learning_rate",
    "momentum",
    "batch_size",
    "validation_fraction",
    "epochs",
    "engine",
    "device",
)
"""The settings that a sweep ranks, in the order of the table's columns; seeds are averaged."""

JSON_NAME, CSV_NAME, TABLE_NAME = "sweep.json", "sweep.csv", "sweep.md"
NOTHING = "–"
"""The figure of a setting that failed with every seed."""
MOST_ROWS = 50
"""Most rows of a table for people; the CSV has all."""
MOST_CURVES = 6
"""Most curves in a figure, which has as many colours."""


class Spread(NamedTuple):
    """The mean of some values, the least and the largest."""

    mean: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.fmean(values), min(values), max(values))


@dataclass(frozen=True)
class Trial:
    """A training from one seed, and its evaluation; a failed one has no figures.

    Parameters
    ----------
    key : str
        The key of the training.
    validation_accuracy : float
        After the last epoch, whose weights are those of the result.
    best_epoch : int
        The epoch with the highest validation accuracy.
    seconds : float
        Of all epochs together.
    """

    seed: int
    key: str
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    best_validation_accuracy: float | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    failure: str | None = None


FIGURES = ("validation_accuracy", "test_accuracy", "best_validation_accuracy", "best_epoch", "seconds")
"""The figures of a trial."""


@dataclass(frozen=True)
class Row:
    """The trials of one combination of settings, which differ in their seeds."""

    settings: dict[str, Any]
    trials: list[Trial]

    @property
    def finished(self) -> list[Trial]:
        """The trials that did not fail."""
        return [trial for trial in self.trials if trial.failure is None]

    @property
    def failure(self) -> str:
        """The first failure, and how many trials failed; empty if none did."""
        failures = [trial.failure for trial in self.trials if trial.failure is not None]
        if not failures:
            return ""
        what = failures[0].partition(", with learning rate")[0]
        return what if len(self.trials) == 1 else f"{len(failures)} of {len(self.trials)} failed: {what}"

    def spread(self, figure: str) -> Spread | None:
        """Return the spread of a figure over the trials that did not fail; None if all failed."""
        values = [getattr(trial, figure) for trial in self.finished]
        return Spread.of(values) if values else None

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Where to sort the row: by validation accuracy, those of which a trial failed behind all others."""
        accuracy = self.spread("validation_accuracy")
        return not self.finished, bool(self.failure), -accuracy.mean if accuracy else 0


@dataclass(frozen=True)
class Ranking:
    """The rows of a sweep, best first; the data of its trials; and the curves of its best settings."""

    data: dict[str, Any]
    rows: list[Row]
    curves: list[Curve]

    @property
    def varied(self) -> list[str]:
        """The settings that have several values."""
        return [name for name in SETTINGS if len({row.settings[name] for row in self.rows}) > 1]

    @property
    def trials(self) -> int:
        """The number of trials."""
        return sum(len(row.trials) for row in self.rows)


def write_sweep(output: Path, *, monitor: Monitor, **results: Path) -> None:
    """Write ``sweep.json``, ``sweep.csv``, ``sweep.md``, and figures as PNG and SVG: ``curves`` and ``accuracy``.

    ``accuracy`` is left out where there are not one or two settings with several values.

    Parameters
    ----------
    results : Path
        The folders of each trial's results, ``trained_NUMBER`` and ``evaluated_NUMBER``.
    """
    ranking = _rank(results, monitor)
    document = {
        "data": ranking.data,
        "rows": [asdict(row) for row in ranking.rows],
        "curves": [asdict(curve) for curve in ranking.curves],
    }
    (output / JSON_NAME).write_text(json.dumps(document, indent=1) + "\n")
    _write_csv(output / CSV_NAME, ranking.rows)
    (output / TABLE_NAME).write_text("\n".join([about(ranking), "", *_markdown(ranking)]) + "\n")
    with drawing.styled("sweep"):
        for name, figure in (("curves", curves_figure(ranking.curves)), ("accuracy", accuracy_of(ranking))):
            if figure:
                drawing.save(figure, output, name)


def read_sweep(path: Path) -> Ranking | None:
    """Read a ``sweep.json``; None if its fields are others."""
    document = json.loads(path.read_text())
    try:
        rows = [Row(row["settings"], [Trial(**trial) for trial in row["trials"]]) for row in document["rows"]]
        return Ranking(document["data"], rows, [Curve(**curve) for curve in document["curves"]])
    except (KeyError, TypeError):  # an earlier version of this program wrote other fields
        return None


def accuracy_of(ranking: Ranking) -> Figure | None:
    """Draw the accuracies against the settings that have several values; None if these are not one or two."""
    points = [
        ({name: row.settings[name] for name in ranking.varied}, valid, test)
        for row in ranking.rows
        if (valid := row.spread("validation_accuracy")) and (test := row.spread("test_accuracy"))
    ]
    return accuracy_figure(ranking.varied, points)


def sweep_section(path: Path | None, archive_sha256: str, folder: Path) -> Section | None:
    """Show the ranking and its figures; None if there is no sweep on these images."""
    ranking = read_sweep(path) if path else None
    if ranking is None or ranking.data.get("archive_sha256") != archive_sha256:
        return None
    header, *lines = table_lines(ranking)
    table = html_table("Settings", header, lines, numbers=[name for name in header if name != "failed"], id="sweep")
    curves = plot(
        folder,
        "sweep-curves",
        "Validation accuracy",
        f"Validation accuracy after each epoch, for {', '.join(curve.label for curve in ranking.curves)}.",
        curves_figure,
        ranking.curves,
    )
    accuracy = plot(
        folder,
        "sweep-accuracy",
        "Accuracy against the settings",
        f"Accuracy against {' and '.join(ranking.varied)}. The best: {', '.join(lines[0])}.",
        accuracy_of,
        ranking,
    )
    note = element("p", " ".join(filter(None, [about(ranking), more_rows(ranking)])))
    return Section("sweep", "Settings compared", [note, table, element("div", curves, accuracy, class_="pair")])


def about(ranking: Ranking) -> str:
    """Return a sentence on the settings that vary, those that do not, and the order of the rows."""
    first = ranking.rows[0].settings
    fixed = [named(name, first[name]) for name in SETTINGS if name not in ranking.varied]
    data = f" on {ranking.data['title']}" if ranking.data else ""
    return (
        f"{counted(len(ranking.rows), 'setting')}, {counted(ranking.trials, 'trial')}{data}; the same for all: "
        f"{', '.join(fixed)}. The best validation accuracy after the last epoch comes first."
    )


def table_lines(ranking: Ranking) -> list[list[str]]:
    """Format the header of the table, and the cells of the best rows."""
    columns = [*ranking.varied, "seeds", "validation_accuracy", "test_accuracy", "best_epoch", "seconds", "failed"]
    cells = [_cells(row) for row in ranking.rows[:MOST_ROWS]]
    if all(len(row.trials) == 1 for row in ranking.rows):
        columns.remove("seeds")
    if not any(row.failure for row in ranking.rows):
        columns.remove("failed")
    header = [name.replace("_", " ") for name in columns]
    return [header, *([row[name] for name in columns] for row in cells)]


def more_rows(ranking: Ranking) -> str:
    """Say how many rows the table lacks; empty if it has all."""
    more = len(ranking.rows) - MOST_ROWS
    return f"{counted(more, 'more row')} in {CSV_NAME}." if more > 0 else ""


def _rank(results: Mapping[str, Path], monitor: Monitor) -> Ranking:
    rows: dict[tuple[Any, ...], Row] = {}
    curves: dict[str, list[float]] = {}
    data: dict[str, Any] = {}
    count = len(results) // 2
    for number in range(count):
        trained, evaluated = results[f"trained_{number}"], results[f"evaluated_{number}"]
        record = Record.read_any(trained)
        if record is None:
            raise StoreError(f"{trained} has no record. Run `make verify`, then the same command again.")
        settings = {name: record.parameters[name] for name in SETTINGS}
        row = rows.setdefault(tuple(settings.values()), Row(settings, []))
        if record.failure:
            row.trials.append(Trial(record.parameters["seed"], record.key, failure=record.failure))
            continue
        history = json.loads((trained / HISTORY_NAME).read_text())
        data = data or {name: history["data"][name] for name in ("title", "archive_sha256")}
        curve = curves[record.key] = [epoch["valid_accuracy"] for epoch in history["epochs"]]
        row.trials.append(
            Trial(
                record.parameters["seed"],
                record.key,
                validation_accuracy=curve[-1],
                test_accuracy=json.loads((evaluated / METRICS_NAME).read_text())["accuracy"],
                best_validation_accuracy=max(curve),
                best_epoch=curve.index(max(curve)) + 1,
                seconds=sum(record.measured["epoch_seconds"]),
            )
        )
        monitor.progress(number + 1, count, "trials")
    ranked = sorted(rows.values(), key=lambda row: row.rank)
    return Ranking(data, ranked, _best_curves(ranked, curves))


def _best_curves(ranked: Sequence[Row], curves: Mapping[str, list[float]]) -> list[Curve]:
    """Return the curves of the best settings; those that differ only in epochs have one, the longest."""
    longest: dict[tuple[Any, ...], Row] = {}
    for row in filter(lambda row: row.finished, ranked):
        others = tuple(value for name, value in row.settings.items() if name != "epochs")
        if others not in longest or row.settings["epochs"] > longest[others].settings["epochs"]:
            longest[others] = row
    shown = list(longest.values())[:MOST_CURVES]
    varied = [name for name in SETTINGS if name != "epochs" and len({row.settings[name] for row in shown}) > 1]
    found = []
    for row in sorted(shown, key=lambda row: [row.settings[name] for name in varied]):
        epochs = zip(*(curves[trial.key] for trial in row.finished), strict=True)
        mean, least, most = (list(column) for column in zip(*map(Spread.of, epochs), strict=True))
        label = ", ".join(named(name, row.settings[name]) for name in varied)
        found.append(Curve(label or row.settings["network"].upper(), mean, least, most))
    return found


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    spreads = [name for figure in FIGURES for name in (figure, f"{figure}_least", f"{figure}_most")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*SETTINGS, "seeds", *spreads, "failed", "failure", "keys"])
        for row in rows:
            figures = [row.spread(figure) or ("", "", "") for figure in FIGURES]
            writer.writerow(
                [
                    *row.settings.values(),
                    " ".join(str(trial.seed) for trial in row.trials),
                    *(value for figure in figures for value in figure),
                    len(row.trials) - len(row.finished),
                    next((trial.failure for trial in row.trials if trial.failure), ""),
                    " ".join(trial.key for trial in row.trials),
                ]
            )


def _markdown(ranking: Ranking) -> list[str]:
    header, *lines = table_lines(ranking)
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    written = [header, ["-" * width for width in widths], *lines]
    table = [f"| {' | '.join(map(str.ljust, line, widths))} |" for line in written]
    return [*table, *filter(None, ["", more_rows(ranking)])] if more_rows(ranking) else table


def _cells(row: Row) -> dict[str, str]:
    seconds = row.spread("seconds")
    return {
        **{name: value_text(value) for name, value in row.settings.items()},
        "seeds": str(len(row.trials)),
        "validation_accuracy": _range(row.spread("validation_accuracy"), ".4f"),
        "test_accuracy": _range(row.spread("test_accuracy"), ".4f"),
        "best_epoch": _range(row.spread("best_epoch"), ".0f"),
        "seconds": duration(seconds.mean) if seconds else NOTHING,
        "failed": row.failure,
    }


def _range(spread: Spread | None, form: str) -> str:
    if spread is None:
        return NOTHING
    mean, least, most = (format(value, form) for value in spread)
    return mean if spread.least == spread.most else f"{mean} ({least} to {most})"
