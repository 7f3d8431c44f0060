"""Draw a sweep: curves over each other, and accuracy against one or two settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.report.drawing import BLUE, VERMILION, new_figure
from pipeline.report.learning import set_epoch_ticks
from pipeline.report.markup import named, value_text

MOST_LINES = 6
"""Most lines in a plot of two settings; a plot of more is a grid."""
MOST_TICKS = 10
"""Most values of a setting that each have a tick."""
CELLS, IN_CELLS = ("#f2f7fb", "#6aaed6"), "#14171a"
"""The colours of the least and the largest accuracy in a grid, and of the text on them, also in a dark page."""

_Point = tuple[Mapping[str, Any], Sequence[float], Sequence[float]]
"""The values of some settings; validation and test accuracy, each as mean, least and most."""


@dataclass(frozen=True)
class Curve:
    """The validation accuracy after each epoch, with the least and the largest of all seeds."""

    label: str
    mean: list[float]
    least: list[float]
    most: list[float]


def curves_figure(curves: Sequence[Curve]) -> Figure | None:
    """Draw the curves over each other; None where there is none."""
    if not curves:
        return None
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    for number, curve in enumerate(curves):
        epochs = range(1, len(curve.mean) + 1)
        axes.plot(epochs, curve.mean, "o-" if len(curve.mean) == 1 else "-", color=f"C{number}", label=curve.label)
        axes.fill_between(epochs, curve.least, curve.most, color=f"C{number}", alpha=0.18, linewidth=0)
    axes.set_xlabel("epoch")
    set_epoch_ticks(axes)
    _finish(axes)
    return figure


def accuracy_figure(varied: Sequence[str], points: Sequence[_Point]) -> Figure | None:
    """Draw accuracies against one or two settings; None for another number of settings, or of less than two points."""
    if len(varied) not in (1, 2) or len(points) < 2:
        return None
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    if len(varied) == 1:
        _draw_accuracies(axes, varied[0], points)
        return figure
    counts = {name: len({values[name] for values, _, _ in points}) for name in varied}
    by_line, along = sorted(varied, key=lambda name: counts[name])
    (_draw_lines if counts[by_line] <= MOST_LINES else _draw_grid)(axes, by_line, along, points)
    return figure


def _draw_accuracies(axes: Axes, name: str, points: Sequence[_Point]) -> None:
    """Draw validation and test accuracy against a setting."""
    positions = _set_values(axes, name, (values[name] for values, _, _ in points))
    for number, (label, colour) in enumerate((("validation", VERMILION), ("test", BLUE)), start=1):
        line = sorted((positions[point[0][name]], *point[number]) for point in points)
        _plot(axes, line, color=colour, label=label)
    _finish(axes)


def _draw_lines(axes: Axes, by_line: str, along: str, points: Sequence[_Point]) -> None:
    """Draw validation accuracy against one setting, a line for each value of the other one."""
    positions = _set_values(axes, along, (values[along] for values, _, _ in points))
    for number, value in enumerate(_ordered(values[by_line] for values, _, _ in points)):
        line = sorted((positions[at[along]], *valid) for at, valid, _ in points if at[by_line] == value)
        _plot(axes, line, color=f"C{number}", label=named(by_line, value))
    _finish(axes)


def _draw_grid(axes: Axes, rows: str, columns: str, points: Sequence[_Point]) -> None:
    """Draw validation accuracy as a grid of percentages, darker where it is higher; a failed setting has no cell."""
    row_values, column_values = (_ordered(values[name] for values, _, _ in points) for name in (rows, columns))
    found = {(at[rows], at[columns]): valid[0] for at, valid, _ in points}
    grid = [[found.get((row, column), float("nan")) for column in column_values] for row in row_values]
    axes.imshow(grid, cmap=LinearSegmentedColormap.from_list("accuracy", CELLS), aspect="auto")
    for (row, column), accuracy in found.items():
        place = column_values.index(column), row_values.index(row)
        axes.text(*place, f"{100 * accuracy:.0f}", ha="center", va="center", fontsize=7, color=IN_CELLS)
    _set_ticks(axes.set_xticks, column_values)
    _set_ticks(axes.set_yticks, row_values)
    axes.set(xlabel=columns.replace("_", " "), ylabel=rows.replace("_", " "))
    axes.set_title("validation accuracy in %", fontsize="medium")


def _plot(axes: Axes, line: Sequence[Sequence[float]], **options: Any) -> None:
    """Draw a line through means, with a bar from the least to the largest value at each."""
    places, means, least, most = zip(*line, strict=True)
    below = [mean - value for mean, value in zip(means, least, strict=True)]
    above = [value - mean for mean, value in zip(means, most, strict=True)]
    axes.errorbar(places, means, (below, above), marker="o", markersize=4, capsize=3, **options)


def _set_values(axes: Axes, name: str, values: Iterable[Any]) -> dict[Any, int]:
    """Set the axis of a setting; return the place of each value on it: all are in order, at equal distances."""
    ordered = _ordered(values)
    axes.set_xlabel(name.replace("_", " "))
    _set_ticks(axes.set_xticks, ordered)
    return {value: place for place, value in enumerate(ordered)}


def _set_ticks(set_ticks: Callable[..., Any], values: Sequence[Any]) -> None:
    """Set a tick at each of a few values, else at every second, third and so on."""
    step = -(-len(values) // MOST_TICKS)
    set_ticks(range(0, len(values), step), map(value_text, values[::step]))


def _ordered(values: Iterable[Any]) -> list[Any]:
    return sorted(set(values))


def _finish(axes: Axes) -> None:
    axes.set_ylabel(
        "accuracy" if axes.get_legend_handles_labels()[1] == ["validation", "test"] else "validation accuracy"
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(visible=True)
    axes.legend()
