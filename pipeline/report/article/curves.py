"""Draw what all curves over epochs share: the article's runs behind them, and the axis."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.article.runs import ArticleNetwork
from pipeline.report.drawing import INK

STYLES = {"GPU": "-", "32 cores": ":"}

FEW_EPOCHS = 12
"""Maximum number of epochs that each have a tick on the axis and a mark on the line."""


def draw_article(axes: Axes, article: ArticleNetwork, *columns: str) -> None:
    """Draw columns of the article's tables, such as ``train_loss``, as thin lines with one label per run."""
    for run in article.runs:
        for number, column in enumerate(columns):
            axes.plot(
                [row.epoch for row in run.epochs],
                [getattr(row, column) for row in run.epochs],
                STYLES[run.hardware],
                color=INK,
                linewidth=0.8,
                zorder=1.5,  # behind other lines, which Matplotlib draws at 2
                label=run.label if number == 0 else None,
            )


def tick_epochs(axes: Axes) -> None:
    """Put ticks below curves: at each of a few epochs, else at the first and at round ones, such as 1, 10, 20 to 50."""
    last = int(axes.dataLim.xmax)
    ticks = range(1, last + 1) if last <= FEW_EPOCHS else MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(1, last)
    axes.set_xticks([1, *(epoch for epoch in ticks if 1 < epoch <= last)])
