"""Write the section on learning: losses and accuracy, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.report.curves import network_curves
from pipeline.report.drawing import plot
from pipeline.report.markup import Section, counted, element
from pipeline.report.network_results import NetworkResults
from pipeline.training.history import Epoch, best_epoch


def learning_section(networks: Sequence[NetworkResults], folder: Path) -> Section:
    """Show losses and accuracy of each epoch, with the article's runs on the article's data."""
    notes, plots = [], []
    for network in networks:
        notes.append(element("p", " ".join([_lowest_loss(network), *_beside_the_article(network)])))
        last = network.epochs[-1]
        behind = " The curves of the article’s two runs are behind them." if network.article else ""
        described = (
            f"Losses and accuracy of the {network.title} over {counted(len(network.epochs), 'epoch')}. At the end the "
            f"training loss is {last.train_loss:.3f}, the validation loss {last.valid_loss:.3f}, and the validation "
            f"accuracy {last.valid_accuracy:.1%}.{behind}"
        )
        plots.append(plot(folder, f"curves-{network.name}", network.title, described, network_curves, network))
    return Section("learning", "Learning", [*notes, element("div", *plots, class_="pair")])


def _lowest_loss(network: NetworkResults) -> str:
    best = min(network.epochs, key=lambda row: row.valid_loss)
    return (
        f"The {network.title}’s validation loss is lowest, {best.valid_loss:.3f}, after epoch {best.epoch} "
        f"of {len(network.epochs)}."
    )


def _beside_the_article(network: NetworkResults) -> list[str]:
    article = network.article
    if article is None:
        return []
    losses = [row.train_loss for row in network.epochs]
    gpu_difference, cpu_difference = (run.train_loss_difference(losses) for run in article.runs)
    compared = counted(min(len(losses), len(article.gpu.epochs)), "epoch")
    own, gpu, cpu = (_accuracies(epochs) for epochs in (network.epochs, article.gpu.epochs, article.cpu.epochs))
    return [
        f"Over {compared} its training loss differs from the article’s by {gpu_difference:.3f} (GPU) and "
        f"{cpu_difference:.3f} (32 cores) on average.",
        f"Validation accuracy: {own}; the article on its GPU {gpu}, on 32 cores {cpu}.",
    ]


def _accuracies(epochs: Sequence[Epoch]) -> str:
    best = best_epoch(epochs)
    return f"{epochs[-1].valid_accuracy:.1%} at the end, {best.valid_accuracy:.1%} at best (epoch {best.epoch})"
