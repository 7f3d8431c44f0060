"""Draw the article's runs behind the curves of a training."""

from __future__ import annotations

from matplotlib.axes import Axes

from pipeline.article.runs import ArticleNetwork
from pipeline.drawing import INK

STYLES = {"GPU": "-", "32 cores": ":"}


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
