"""How losses and accuracy went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.network_results import NetworkResults
from pipeline.report import figures
from pipeline.report.markup import Markup, element, section
from pipeline.report.plots import Plotter


def curves(networks: Sequence[NetworkResults], plotter: Plotter) -> Markup:
    """Show how losses and accuracy went."""
    notes = " ".join(map(_lowest_loss, networks))
    plots = [_plot(network, plotter) for network in networks]
    return section("Learning", element("p", notes), element("div", *plots, class_="pair"))


def _plot(network: NetworkResults, plotter: Plotter) -> Markup:
    article = network.article
    last = network.epochs[-1]
    return plotter.plot(
        f"curves-{network.name}",
        network.title,
        f"Losses and accuracy of the {network.title} over {len(network.epochs)} epochs. At the end the training "
        f"loss is {last['train_loss']:.3f}, the validation loss {last['valid_loss']:.3f}, and the validation accuracy "
        f"{last['valid_accuracy']:.1%}.",
        lambda: figures.curves(network, article.accuracy if article else None),
    )


def _lowest_loss(network: NetworkResults) -> str:
    best = min(network.epochs, key=lambda row: float(row["valid_loss"]))
    return (
        f"The {network.title}’s validation loss is lowest, {best['valid_loss']:.3f}, after epoch {best['epoch']} "
        f"of {len(network.epochs)}."
    )
