"""What curves over epochs have in common: the article's runs behind them, and the epochs that the axis names."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.article.runs import ArticleNetwork
from pipeline.report.drawing import INK

STYLES = {"GPU": "-", "32 cores": ":"}

FEW_EPOCHS = 12
"""Up to so many epochs each has a name on the axis, and a mark on its line."""


def draw_article(axes: Axes, article: ArticleNetwork, *columns: str) -> None:
    """Draw columns of the tables, such as ``train_loss``, as thin lines over epochs, with one label a run."""
    for run in article.runs:
        for number, column in enumerate(columns):
            axes.plot(
                [row.epoch for row in run.epochs],
                [getattr(row, column) for row in run.epochs],
                STYLES[run.hardware],
                color=INK,
                linewidth=0.8,
                zorder=1.5,  # Matplotlib draws lines at 2: these stay behind them
                label=run.label if number == 0 else None,
            )


def name_epochs(axes: Axes) -> None:
    """Name the epochs below curves: each of a few, of more the first and round ones, as in 1, 10, 20 up to 50."""
    last = int(axes.dataLim.xmax)
    named = range(1, last + 1) if last <= FEW_EPOCHS else MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(1, last)
    axes.set_xticks([1, *(epoch for epoch in named if 1 < epoch <= last)])
