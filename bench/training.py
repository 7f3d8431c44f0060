"""Measure an epoch of the pipeline's engines and of other libraries, alternating in one run.

An epoch trains on 40,000 images and validates on 10,000, in minibatches of 128. They are CIFAR-10's where
`make pipeline` has been run, and random ones otherwise. Random ones cost the same, except with the `numba` engine,
which skips zeros. Each alternative has a process of its own, which waits while others compute.

JAX and Keras are measured if --python names a Python that has them, or .cache/bench/others is one:

    python3 -m venv .cache/bench/others
    .cache/bench/others/bin/pip install 'jax[cpu]' keras h5py
    .cache/bench/others/bin/pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu

Run it with ``python bench/training.py [--networks mlp,cnn] [--rounds 5] [--only numba,dataloader]``.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alternatives import ALTERNATIVES, BASELINE, BEST_PYTORCH
from alternatives.work import data_title
from measuring import machine, shown
from measuring.alternative_process import OTHERS, AlternativeProcess, Task, python_for
from measuring.shown import markdown_table
from pipeline.engines import devices
from pipeline.report.article.runs import ARTICLE, ArticleNetwork

ROUNDS = {"mlp": 11, "cnn": 3}
"""Epochs of each alternative, by network: so many that both networks take minutes."""

BUSY = 0.1
"""Cores that others may keep busy on average before the figures are called doubtful."""

PLOT = shown.IMAGES / "training-speed.svg"

Row = dict[str, Any]


def main() -> None:
    """Measure, print a table for each network, and write ``.cache/bench/training.json``."""
    options = arguments()
    threads = options.threads or devices.cores()
    load_before = machine.load()
    networks = {
        network: measure_network(network, options, pythons_of(options, network), threads)
        for network in options.networks.split(",")
    }
    result = {
        "machine": machine.description(),
        "threads": threads,
        "load_before": load_before,
        "load_after": machine.load(),
        "networks": networks,
    }
    text = report(result)
    print(f"\n{text}")
    shown.keep("training", result)
    draw(networks, PLOT if options.write_docs else shown.CACHE / PLOT.name)
    if options.write_docs:
        alternative_text = "Seconds an epoch of each alternative, as in the tables"
        shown.write_into(shown.SPEED_PAGE, "training", f"![{alternative_text}](../images/{PLOT.name})\n\n{text}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="mlp,cnn", help="networks to train (default: %(default)s)")
    usual = ", ".join(f"{rounds} of the {network.upper()}" for network, rounds in ROUNDS.items())
    parser.add_argument("--rounds", type=int, help=f"epochs of each (default: {usual})")
    parser.add_argument("--only", default="", help=f"some of {', '.join(ALTERNATIVES)}")
    parser.add_argument("--compiled", action="store_true", help="PyTorch compiled as well; takes a C++ compiler")
    parser.add_argument("--images", type=int, help="of which four in five train (default: the whole data set)")
    parser.add_argument("--threads", type=int, default=0, help="cores to use (default: all)")
    parser.add_argument("--python", type=Path, action="append", default=[], help="a Python that has JAX or Keras")
    parser.add_argument("--write-docs", action="store_true", help="put tables and plot into the page of docs/")
    options = parser.parse_args()
    unknown = set(filter(None, options.only.split(","))) - set(ALTERNATIVES)
    if unknown:
        parser.error(f"--only names {', '.join(sorted(unknown))}; expected some of {', '.join(ALTERNATIVES)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; expected at least 1")
    return options


def pythons_of(options: argparse.Namespace, network: str) -> dict[str, Path]:
    """Return the alternatives to measure on a network, each with the Python that has its libraries."""
    only = list(filter(None, options.only.split(",")))
    usable = {f"{engine}-{device}".removesuffix("-cpu") for engine, device in devices.usable()}
    usable_devices = {device for _, device in devices.usable()}
    pythons = {}
    for name, alternative in ALTERNATIVES.items():
        chosen = name in only or (not only and (not alternative.slow_start or options.compiled))
        can_run = alternative.device in usable_devices and (name in usable or not alternative.is_ours)
        if not chosen or network not in alternative.networks or not can_run:
            continue
        found = python_for(name, [Path(sys.executable), *options.python, OTHERS])
        if found:
            pythons[name] = found
        elif name in only:
            raise SystemExit(f"--only names {name}, but no Python here has {' and '.join(alternative.libraries)}.")
    return pythons


def measure_network(network: str, options: argparse.Namespace, pythons: dict[str, Path], threads: int) -> Row:
    """Prepare all alternatives, then have each compute an epoch in turn, in rounds; the first round warms up."""
    rounds = options.rounds or ROUNDS.get(network, ROUNDS["cnn"])
    print(f"{network.upper()}: {rounds} rounds of {', '.join(pythons)}", flush=True)
    with contextlib.ExitStack() as stack:
        processes = {}
        for name, python in pythons.items():
            print(f"  preparing {name}", flush=True)
            task = Task(name, network, threads, options.images)
            processes[name] = stack.enter_context(AlternativeProcess(task, python))
        epochs: dict[str, list[Row]] = {name: [] for name in processes}
        for number in range(rounds + 1):
            for name, process in processes.items():
                epochs[name].append(asdict(process.epoch()))
            taken = ", ".join(f"{name} {measured[-1]['seconds']:.2f}" for name, measured in epochs.items())
            print(f"  {f'round {number}' if number else 'warming up'}: {taken}", flush=True)
        rows = {
            name: {
                "label": ALTERNATIVES[name].label,
                "versions": process.versions,
                "prepare_seconds": process.prepare_seconds,
                "peak_memory": process.peak_memory(),
                "first_epoch": epochs[name][0],
                "epochs": epochs[name][1:],
                **summary(epochs[name][1:]),
            }
            for name, process in processes.items()
        }
    return {"data": data_title(network), "images": options.images, "rounds": rounds, "alternatives": rows}


def summary(epochs: list[Row]) -> Row:
    """Reduce epochs to medians, and seconds to quartiles as well."""
    seconds = [epoch["seconds"] for epoch in epochs]
    lower, median, upper = statistics.quantiles(seconds, method="inclusive") if len(seconds) > 1 else seconds * 3
    return {
        "seconds": median,
        "quartiles": (lower, upper),
        "cpu_seconds": statistics.median(epoch["cpu_seconds"] for epoch in epochs),
        "others": statistics.median(epoch["others"] for epoch in epochs),
    }


def report(result: Row) -> str:
    """Return a table in Markdown for each network, and a line on the machine."""
    parts = [table(network, measured) for network, measured in result["networks"].items()]
    return "\n\n".join([*parts, circumstances(result)])


def table(network: str, measured: Row) -> str:
    """Return the table of one network, the fastest first, the article's figures last."""
    rows = sorted(measured["alternatives"].values(), key=lambda row: row["seconds"])
    baseline, best = (measured["alternatives"].get(name) for name in (BASELINE, BEST_PYTORCH.get(network)))
    header = [network.upper(), "seconds an epoch (quartiles)", "CPU seconds", "peak memory"]
    header += ["times as fast as PyTorch, DataLoader", "as the best PyTorch", "as the article's GPU"]
    article = article_figures(network, measured)
    lines = [
        [
            row["label"],
            f"{row['seconds']:#.3g} ({row['quartiles'][0]:#.3g} to {row['quartiles'][1]:#.3g})",
            f"{row['cpu_seconds']:.2f}",
            shown.megabytes(row["peak_memory"]),
            *(f"{other['seconds'] / row['seconds']:.1f}x" if other else "" for other in (baseline, best)),
            f"{article.gpu.epoch_seconds / row['seconds']:.1f}x" if article else "",
        ]
        for row in rows
    ]
    if article:
        of_article = " on its GPU, ".join(f"{run.epoch_seconds:.3g}" for run in article.runs) + " on 32 cores"
        lines.append(["the article's", of_article, *[""] * (len(header) - 2)])
    return markdown_table(header, lines)


def article_figures(network: str, measured: Row) -> ArticleNetwork | None:
    """Return the article's figures, where the epochs were as long as its own."""
    return ARTICLE.get(network) if measured["images"] is None else None


def circumstances(result: Row) -> str:
    """Describe the measurement: rounds, images, machine, versions, and the work of others on the machine."""
    on = result["machine"]
    alternatives = [row for measured in result["networks"].values() for row in measured["alternatives"].values()]
    versions = dict(item for row in alternatives for item in row["versions"].items())
    others = statistics.median(epoch["others"] for row in alternatives for epoch in row["epochs"])
    most = max(epoch["others"] for row in alternatives for epoch in row["epochs"])
    rounds = " and ".join(f"{measured['rounds']} ({name.upper()})" for name, measured in result["networks"].items())
    titles = " and ".join(dict.fromkeys(measured["data"] for measured in result["networks"].values()))
    images = {measured["images"] for measured in result["networks"].values()} - {None}
    of = "".join(f", {count:,} images" for count in images)
    lines = [
        f"Medians of alternating rounds, {rounds}, on {titles}{of}; {on['processor']}, {result['threads']} threads on "
        f"{on['cores']} cores; {', '.join(f'{name} {version}' for name, version in sorted(versions.items()))}. "
        f"Load average {result['load_before']:.2f} before, {result['load_after']:.2f} after; everything else on the "
        f"machine kept {others:.2f} cores busy during an epoch (median), {most:.2f} at most."
    ]
    if others > BUSY:
        lines.append("The machine was busy: compare with care, and repeat this when it is not.")
    return "\n\n".join(lines)


def draw(networks: Row, path: Path) -> None:
    """Draw a bar for each alternative and a line for the article's figure, a panel for each network."""
    most = max(len(measured["alternatives"]) for measured in networks.values())
    figure = shown.new_figure(10, 1.2 + 0.34 * most * len(networks))
    heights = [len(measured["alternatives"]) for measured in networks.values()]
    panels = figure.subplots(len(networks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (network, measured) in zip(panels, networks.items(), strict=True):
        draw_panel(axes, network, measured)
    panels[-1].set_xlabel("seconds an epoch (median, quartiles)")
    shown.save(figure, path)
    print(f"The plot is {path.relative_to(shown.ROOT)}.")


def draw_panel(axes: Any, network: str, measured: Row) -> None:
    """Draw the bars of one network, the fastest on top."""
    rows = sorted(measured["alternatives"].items(), key=lambda item: item[1]["seconds"], reverse=True)
    medians = [row["seconds"] for _, row in rows]
    errors = [[abs(row["quartiles"][side] - row["seconds"]) for _, row in rows] for side in (0, 1)]
    colours = [shown.BLUE if ALTERNATIVES[name].is_ours else shown.ORANGE for name, _ in rows]
    bars = axes.barh(
        [row["label"].replace("`", "") for _, row in rows], medians, xerr=errors, color=colours, ecolor=shown.GRAY
    )
    for (name, _), bar in zip(rows, bars, strict=True):
        bar.set_hatch("" if ALTERNATIVES[name].is_ours else "//")
        bar.set_edgecolor("white")
    ends = [row["quartiles"][1] for _, row in rows]
    for place, (end, median) in enumerate(zip(ends, medians, strict=True)):
        axes.text(end, place, f"  {shown.seconds(median)}", va="center", fontsize="small")
    axes.set_title(f"{network.upper()} on {measured['data']}", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    right = 1.15 * max(ends)
    if article := article_figures(network, measured):
        right = max(right, 1.15 * article.gpu.epoch_seconds)
        draw_article(axes, article, right)
    axes.set_xlim(0, right)


def draw_article(axes: Any, article: ArticleNetwork, right: float) -> None:
    """Draw the article's figures as lines, or write those beyond the edge at the edge."""
    for run in article.runs:
        value = run.epoch_seconds
        text = f"the article's {run.hardware}: {value:.3g} s"
        if value <= right:
            axes.axvline(value, color=shown.GRAY, linestyle="--", linewidth=1)
            axes.annotate(
                text, (value, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize="small"
            )
        else:
            axes.annotate(f"{text} →", (1, 0.02), xycoords="axes fraction", ha="right", va="bottom", fontsize="small")


if __name__ == "__main__":
    main()
