"""Write the section on learning: losses and accuracy, epoch by epoch, with curves in front of the article's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipeline.report.article.runs import ArticleNetwork
from pipeline.report.drawing import BLUE, INK, VERMILION, new_figure, plot
from pipeline.report.markup import Section, counted, element
from pipeline.report.network_results import NetworkResults
from pipeline.training.history import Epoch, best_epoch

STYLES = {"GPU": "-", "32 cores": ":"}
"""Lines of the article's runs, by hardware."""

FEW_EPOCHS = 12
"""Maximum number of epochs that each have a tick on the axis and a mark on the line."""

HEIGHTS = (3, 2)
"""Ratio of the heights of losses and accuracy."""


def learning_section(networks: Sequence[NetworkResults], folder: Path) -> Section:
    """Show losses and accuracy of each epoch, with the article's runs on the article's data."""
    notes, plots = [], []
    for network in networks:
        notes.append(element("p", _note(network)))
        last = network.epochs[-1]
        behind = " The curves of the article’s two runs are behind them." if network.article else ""
        described = (
            f"Losses and accuracy of the {network.title} over {counted(len(network.epochs), 'epoch')}. At the end the "
            f"training loss is {last.train_loss:.3f}, the validation loss {last.valid_loss:.3f}, and the validation "
            f"accuracy {last.valid_accuracy:.1%}.{behind}"
        )
        plots.append(plot(folder, f"curves-{network.name}", network.title, described, network_curves, network))
    return Section("learning", "Learning", [*notes, element("div", *plots, class_="pair")])


def _note(network: NetworkResults) -> str:
    best = min(network.epochs, key=lambda row: row.valid_loss)
    note = (
        f"The {network.title}’s validation loss is lowest, {best.valid_loss:.3f}, after epoch {best.epoch} "
        f"of {len(network.epochs)}."
    )
    article = network.article
    if article is None:
        return note
    losses = [row.train_loss for row in network.epochs]
    gpu_difference, cpu_difference = (run.train_loss_difference(losses) for run in article.runs)
    compared = counted(min(len(losses), len(article.gpu.epochs)), "epoch")
    own, gpu, cpu = (_accuracies(epochs) for epochs in (network.epochs, article.gpu.epochs, article.cpu.epochs))
    return (
        f"{note} Over {compared} its training loss differs from the article’s by {gpu_difference:.3f} (GPU) and "
        f"{cpu_difference:.3f} (32 cores) on average. "
        f"Validation accuracy: {own}; the article on its GPU {gpu}, on 32 cores {cpu}."
    )


def _accuracies(epochs: Sequence[Epoch]) -> str:
    best = best_epoch(epochs)
    return f"{epochs[-1].valid_accuracy:.1%} at the end, {best.valid_accuracy:.1%} at best (epoch {best.epoch})"


def network_curves(trained: NetworkResults) -> Figure:
    """Draw a network's losses and, below them, its accuracies."""
    figure = new_figure(4.6, 4.4)
    losses, accuracies = figure.subplots(2, 1, sharex=True, height_ratios=HEIGHTS)
    marks = {"marker": "o" if len(trained.epochs) <= FEW_EPOCHS else "", "markersize": 4}
    _plot(losses, trained.epochs, "train_loss", "-", color=BLUE, label="train", **marks)
    _plot(losses, trained.epochs, "valid_loss", "--", color=VERMILION, label="validation", **marks)
    _plot(accuracies, trained.epochs, "valid_accuracy", "--", color=VERMILION, label="validation", **marks)
    accuracies.axhline(trained.accuracy, color=BLUE, linewidth=1, label="test")
    _finish(losses, accuracies, trained.article)
    if trained.article:
        accuracies.axhline(trained.article.accuracy, color=INK, linewidth=0.8, linestyle="-.", label="article, test")
    for axes, label in ((losses, "loss (cross-entropy)"), (accuracies, "accuracy")):
        axes.set_ylabel(label)
        axes.grid(visible=True)
        axes.legend()
    figure.align_ylabels()
    return figure


def engine_curves(groups: Mapping[tuple[str, str, str], NetworkResults]) -> Figure:
    """Draw losses and accuracies of trainings by network, engine and device, those of a network in one plot."""
    networks = list(dict.fromkeys(network for network, _, _ in groups))
    figure = new_figure(6 * len(networks), 7)
    panels = figure.subplots(2, len(networks), squeeze=False, sharex="col", height_ratios=HEIGHTS)
    for (losses, accuracies), network in zip(panels.T, networks, strict=True):
        trainings = {group[1:]: trained for group, trained in groups.items() if group[0] == network}
        for number, ((engine, device), trained) in enumerate(trainings.items()):
            # Each line is narrower than the line before, which stays visible on both sides of it.
            options = {"linewidth": 2 * (len(trainings) - number) - 1, "color": f"C{number}", "alpha": 0.8}
            _plot(losses, trained.epochs, "train_loss", "-", label=f"{engine} on {device}, train", **options)
            _plot(losses, trained.epochs, "valid_loss", "--", label=f"{engine} on {device}, valid", **options)
            _plot(accuracies, trained.epochs, "valid_accuracy", "--", **options)
        _finish(losses, accuracies, next(iter(trainings.values())).article)
        losses.set(title=network.upper(), ylabel="loss")
        losses.legend()
        accuracies.set_ylabel("validation accuracy")
    return figure


def draw_article(axes: Axes, article: ArticleNetwork, *columns: str) -> None:
    """Draw columns of the article's tables, such as ``train_loss``, as thin lines with one label per run."""
    for run in article.runs:
        for number, column in enumerate(columns):
            label = run.label if number == 0 else None
            # Matplotlib draws other lines, whose zorder is 2, over these.
            _plot(axes, run.epochs, column, STYLES[run.hardware], color=INK, linewidth=0.8, zorder=1.5, label=label)


def _plot(axes: Axes, epochs: Sequence[Epoch], column: str, style: str, **options: Any) -> None:
    axes.plot([row.epoch for row in epochs], [getattr(row, column) for row in epochs], style, **options)


def _finish(losses: Axes, accuracies: Axes, article: ArticleNetwork | None) -> None:
    """Draw the article's runs behind the curves, and set the axes of epochs and of percentages."""
    if article:
        draw_article(losses, article, "train_loss", "valid_loss")
        draw_article(accuracies, article, "valid_accuracy")
    accuracies.set_xlabel("epoch")
    accuracies.yaxis.set_major_formatter(PercentFormatter(1))
    set_epoch_ticks(accuracies)


def set_epoch_ticks(axes: Axes) -> None:
    """Set a tick at each of a few epochs, else at the first and at round ones: 1, 10, 20 to 50."""
    last = int(axes.dataLim.xmax)
    ticks = range(1, last + 1) if last <= FEW_EPOCHS else MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(1, last)
    axes.set_xticks([1, *(epoch for epoch in ticks if 1 < epoch <= last)])
