"""Train the article's networks from several seeds, and compare them with the tables that the article's runs printed.

`mlp` and `cnn_printed` have the settings of the article's text, `mlp_fitted` and `cnn` those of its tables. The numba
engine trains each as it is declared and evaluates it on the test images. Then the MLP and the CNN are trained for some
epochs with other learning rates, to see which the tables fit. It takes CIFAR-10 as `make pipeline` leaves it, and about
a quarter of an hour on two cores.

Run it with ``python bench/article.py [--seeds 42,1,2,3,4] [--write-docs]``.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.ticker import PercentFormatter

from alternatives.work import Work, data_path, data_title
from measuring import machine, shown
from measuring.shown import markdown_table
from pipeline.data.dataset import CIFAR_TITLE, open_dataset
from pipeline.engines import devices
from pipeline.engines.engine import Training, load_engine
from pipeline.networks.weights import draw_weights
from pipeline.report.article.runs import ARTICLE, ArticleNetwork, Run
from pipeline.report.learning import draw_article
from pipeline.training.history import best_epoch
from pipeline.training.train import fit

DECLARATIONS = {"mlp": ("mlp", "mlp_fitted"), "cnn": ("cnn_printed", "cnn")}
"""For each network of the article the declarations that have the settings of its text, and those of its tables."""

SEEDS = "42,1,2,3,4"

OTHER_RATES = {
    "mlp": (30, (0.01, 0.0125, 0.014, 0.015, 0.016, 0.02)),
    "cnn": (20, (0.004, 0.0045, 0.005, 0.0055, 0.006, 0.015)),
}
"""For each of the article's networks the epochs to compare, and the learning rates."""

OTHER_RATES_SEEDS = 3
"""How many of the seeds train with other learning rates."""

COLUMNS = {"train_loss": "training loss", "valid_loss": "validation loss", "valid_accuracy": "validation accuracy"}

PAGE = shown.ROOT / "docs" / "explanation" / "the-articles-runs.md"
PLOT = shown.IMAGES / "the-articles-runs.svg"


@dataclass(frozen=True)
class Trained:
    """A training.

    Parameters
    ----------
    article_network : str
        The article's network that it stands for.
    epochs : list of dict
        The fields of `Epoch` each.
    test_accuracy : float
        Test accuracy, from 0 to 1.
    seconds : float
        Training and validation of all epochs together.
    """

    article_network: str
    name: str
    learning_rate: float
    seed: int
    epochs: list[dict[str, Any]]
    test_accuracy: float
    seconds: float

    @property
    def best(self) -> dict[str, Any]:
        """The epoch with the highest validation accuracy."""
        return max(self.epochs, key=lambda row: row["valid_accuracy"])

    @property
    def differences(self) -> list[float]:
        """Mean differences of its training loss from those of the article's runs, the GPU's first."""
        losses = [row["train_loss"] for row in self.epochs]
        return [run.train_loss_difference(losses) for run in ARTICLE[self.article_network].runs]


def main() -> None:
    """Train, print two tables, and write ``.cache/bench/article.json`` and the plot."""
    options = arguments()
    if {data_title(name) for name in DECLARATIONS} != {CIFAR_TITLE}:
        print(f"The article's networks train on {CIFAR_TITLE}, which is not here. Type `make pipeline` first.")
        sys.exit(0)
    as_declared = [
        train(article_network, name, seed)
        for article_network, names in DECLARATIONS.items()
        for name in names
        for seed in options.seeds
    ]
    other_rates = [
        train(article_network, article_network, seed, epochs, rate)
        for article_network, (epochs, rates) in OTHER_RATES.items()
        for rate in rates
        for seed in options.seeds[:OTHER_RATES_SEEDS]
    ]
    result = {"as_declared": list(map(asdict, as_declared)), "other_rates": list(map(asdict, other_rates))}
    shown.keep("article", {"machine": machine.description(), **result})
    text = report(as_declared, other_rates)
    print(f"\n{text}")
    draw(as_declared, PLOT if options.write_docs else shown.CACHE / PLOT.name)
    if options.write_docs:
        alternative_text = "Losses and validation accuracy of each network, with those of the article's runs"
        shown.write_into(PAGE, "article", f"![{alternative_text}](../images/{PLOT.name})\n\n{text}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=whole_numbers, default=SEEDS, help="of the initial weights (default: %(default)s)"
    )
    parser.add_argument("--write-docs", action="store_true", help="put tables and plot into the page of docs/")
    return parser.parse_args()


def whole_numbers(text: str) -> list[int]:
    """Read whole numbers with commas between them."""
    return [int(number) for number in text.split(",")]


def train(
    article_network: str, name: str, seed: int, epochs: int | None = None, learning_rate: float | None = None
) -> Trained:
    """Train a network, with its declared settings or the given ones, and evaluate it on the test images."""
    work = images_for(name)
    how = work.how.replaced(epochs=epochs, learning_rate=learning_rate)
    engine = load_engine("numba", threads=work.threads)
    start = time.perf_counter()
    fitted = fit(Training(work.network, how, draw_weights(work.network, seed), work.train, work.valid), engine)
    seconds = time.perf_counter() - start
    with open_dataset(data_path(work.network)) as data:
        images, labels = data.read("test")
    probabilities = engine.probabilities(work.network, fitted.weights, images)
    accuracy = float((probabilities.argmax(1) == labels).mean())
    print(
        f"{name}, learning rate {how.learning_rate:g}, {how.epochs} epochs, seed {seed}: "
        f"test accuracy {accuracy:.4f}, {seconds:.1f} s",
        flush=True,
    )
    history = list(map(asdict, fitted.history))
    return Trained(article_network, name, how.learning_rate, seed, history, accuracy, seconds)


@functools.lru_cache(maxsize=1)  # one network is trained many times before the next
def images_for(name: str) -> Work:
    """Read a network and the images that train and validate it."""
    return Work.read(name, None, None, devices.cores())


def report(as_declared: list[Trained], other_rates: list[Trained]) -> str:
    """Return both tables in Markdown, each with a line on the trainings behind it."""
    on = machine.description()
    return "\n\n".join(
        [
            declarations_table(as_declared),
            f"Each figure is the mean over seeds {seeds_of(as_declared)}, with the least and the largest in brackets. "
            "A difference of training loss is the mean of the absolute differences of all epochs. The article has one "
            "test accuracy for each network.",
            rates_table(other_rates),
            f"Seeds {seeds_of(other_rates)}. All trainings: the `numba` engine, {on['cores']} cores of "
            f"{on['processor']}.",
        ]
    )


def declarations_table(as_declared: list[Trained]) -> str:
    """Compare each declaration with both runs of the article."""
    header = ["network", "learning rate, epochs", "test accuracy", "best validation accuracy", "after epoch"]
    header += ["last validation accuracy", "training loss differs from the GPU's by", "from the 32 cores' by"]
    lines = []
    for article_network, names in DECLARATIONS.items():
        for name in names:
            trainings = [trained for trained in as_declared if trained.name == name]
            lines.append(
                [
                    f"`{name}`",
                    f"{trainings[0].learning_rate:g}, {len(trainings[0].epochs)}",
                    spread((trained.test_accuracy for trained in trainings), percent),
                    spread((trained.best["valid_accuracy"] for trained in trainings), percent),
                    spread((trained.best["epoch"] for trained in trainings), "{:.0f}".format),
                    spread((trained.epochs[-1]["valid_accuracy"] for trained in trainings), percent),
                    *difference_cells(trainings),
                ]
            )
        lines += article_lines(article_network)
    return markdown_table(header, lines)


def article_lines(article_network: str) -> list[list[str]]:
    """Return the article's own rows of the table of declarations."""
    article = ARTICLE[article_network]
    return [
        [
            f"{article_network.upper()}, {run.label}",
            f"unknown, {len(run.epochs)}",
            f"{article.accuracy:.0%}",
            percent(best_epoch(run.epochs).valid_accuracy),
            str(best_epoch(run.epochs).epoch),
            percent(run.epochs[-1].valid_accuracy),
            *run_difference_cells(run, len(run.epochs), article),
        ]
        for run in article.runs
    ]


def rates_table(other_rates: list[Trained]) -> str:
    """Compare learning rates with both runs of the article."""
    header = ["network", "epochs", "learning rate", "training loss differs from the GPU's by", "from the 32 cores' by"]
    lines = []
    for article_network, (epochs, rates) in OTHER_RATES.items():
        article = ARTICLE[article_network]
        for rate in rates:
            trainings = [
                trained
                for trained in other_rates
                if (trained.article_network, trained.learning_rate) == (article_network, rate)
            ]
            lines.append([article_network.upper(), str(epochs), f"{rate:g}", *difference_cells(trainings)])
        lines += [
            [
                f"{article_network.upper()}, {run.label}",
                str(epochs),
                "unknown",
                *run_difference_cells(run, epochs, article),
            ]
            for run in article.runs
        ]
    return markdown_table(header, lines)


def difference_cells(trainings: list[Trained]) -> list[str]:
    """Write how far training losses are from each of the article's runs."""
    of_runs = zip(*(trained.differences for trained in trainings), strict=True)
    return [spread(differences, "{:.3f}".format) for differences in of_runs]


def run_difference_cells(run: Run, epochs: int, article: ArticleNetwork) -> list[str]:
    """Write how far the first epochs of a run of the article are from its other run."""
    losses = [row.train_loss for row in run.epochs[:epochs]]
    return ["" if other is run else f"{other.train_loss_difference(losses):.3f}" for other in article.runs]


def spread(values: Iterable[float], written: Callable[[float], str]) -> str:
    """Write the mean of values, and their range where they differ."""
    values = list(values)
    low, high = written(min(values)), written(max(values))
    mean = written(statistics.fmean(values))
    return mean if low == high else f"{mean} ({low} to {high})"


def percent(share: float) -> str:
    """Write a share in per cent."""
    return f"{share:.1%}"


def seeds_of(trainings: list[Trained]) -> str:
    """List the seeds of trainings."""
    return ", ".join(map(str, dict.fromkeys(trained.seed for trained in trainings)))


def draw(as_declared: list[Trained], path: Path) -> None:
    """Draw each column of the tables, a row of panels a network: the seeds' range as a band, the article's as lines."""
    figure = shown.new_figure(11, 6)
    panels = figure.subplots(len(DECLARATIONS), len(COLUMNS), sharex=True)
    for row, (article_network, names) in zip(panels, DECLARATIONS.items(), strict=True):
        for axes, (column, title) in zip(row, COLUMNS.items(), strict=True):
            for name, color in zip(names, (shown.ORANGE, shown.BLUE), strict=True):
                draw_band(axes, [trained for trained in as_declared if trained.name == name], column, color)
            draw_article(axes, ARTICLE[article_network], column)
            axes.set_title(f"{article_network.upper()}, {title}", loc="left")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(visible=True, alpha=0.15)
        row[0].legend(frameon=False)
        row[-1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    shown.save(figure, path)
    print(f"The plot is {path.relative_to(shown.ROOT)}.")


def draw_band(axes: Any, trainings: list[Trained], column: str, color: str) -> None:
    """Draw a column of several trainings: from the least to the largest value, and their mean."""
    epochs = [row["epoch"] for row in trainings[0].epochs]
    columns = list(zip(*([row[column] for row in trained.epochs] for trained in trainings), strict=True))
    axes.fill_between(epochs, list(map(min, columns)), list(map(max, columns)), color=color, alpha=0.25, linewidth=0)
    label = f"{trainings[0].name}: {trainings[0].learning_rate:g}, {len(epochs)} epochs"
    axes.plot(epochs, list(map(statistics.fmean, columns)), color=color, label=label)


if __name__ == "__main__":
    main()
