"""Measure how an epoch's time grows: with the images, the threads and the minibatch's size.

The `numba` engine and the fastest PyTorch that was found compute epochs in turn, each in a process of its own for each
point. Four images of five train, one validates; beyond 50,000 they are the data set's over and over.

Run it with ``python bench/growth.py [--quick] [--images 1000,500000]``.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from alternatives import ALTERNATIVES, BEST_PYTORCH
from measuring import machine, shown
from measuring.alternative_process import AlternativeProcess, Measured, Task, python_for
from measuring.shown import markdown_table
from pipeline.engines import devices
from pipeline.networks.declared import find_network

NETWORKS = ("mlp", "cnn")
IMAGES = [1_000, 5_000, 20_000, 50_000, 100_000, 500_000]
BATCH_SIZES = [16, 64, 128, 256, 1024]
FIXED_IMAGES = 10_000
"""Images of an epoch where the threads or the minibatches grow."""

QUICK_IMAGES, QUICK_BATCH_SIZES, QUICK_FIXED_IMAGES = [1_000, 5_000], [64, 256], 2_000

FEWEST_ROUNDS, MOST_ROUNDS = 2, 9
ROUNDS_SECONDS = 10
"""A point is measured as often as these seconds allow, within these bounds. A first round warms up."""

PLOT = shown.IMAGES / "growth.svg"
QUANTITIES = {"images": "images", "threads": "threads", "batch_size": "images in a minibatch"}

Point = dict[str, Any]
Pair = tuple[Task, ...]
"""The same work for each of the alternatives that are compared."""


def main() -> None:
    """Measure, print a table for each quantity, and write ``.cache/bench/growth.json``."""
    options = arguments()
    load_before = machine.load()
    pairs = [pair for network in NETWORKS for pair in pairs_of(network, options)]
    points = [point for quantity, pair in pairs if fits(pair) for point in measured_points(pair, quantity)]
    result = {
        "machine": machine.description(),
        "load_before": load_before,
        "load_after": machine.load(),
        "points": points,
    }
    text = report(result)
    print(f"\n{text}")
    shown.keep("growth", result)
    draw(points, PLOT if options.write_docs else shown.CACHE / PLOT.name)
    if options.write_docs:
        alternative_text = "Seconds an epoch against images, threads and minibatch size, as in the tables"
        shown.write_into(shown.SPEED_PAGE, "growth", f"![{alternative_text}](../images/{PLOT.name})\n\n{text}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few points and few images, for a try")
    parser.add_argument("--images", help=f"numbers of images (default: {','.join(map(str, IMAGES))})")
    parser.add_argument("--write-docs", action="store_true", help="put tables and plot into the page of docs/")
    options = parser.parse_args()
    try:
        options.images = [int(count) for count in options.images.split(",")] if options.images else None
    except ValueError:
        parser.error(f"--images is {options.images!r}; expected whole numbers with commas between, as 1000,500000")
    return options


def pairs_of(network: str, options: argparse.Namespace) -> list[tuple[str, Pair]]:
    """Return the points to measure of a network, each with the name of the quantity that grows."""
    images = options.images or (QUICK_IMAGES if options.quick else IMAGES)
    batch_sizes = QUICK_BATCH_SIZES if options.quick else BATCH_SIZES
    fixed = QUICK_FIXED_IMAGES if options.quick else FIXED_IMAGES
    names = [name for name in ("numba", BEST_PYTORCH[network]) if python_for(name, [Path(sys.executable)])]
    cores, usual = devices.cores(), find_network(network).hyperparameters.batch_size

    def pair(threads: int, images: int, batch_size: int) -> Pair:
        return tuple(Task(name, network, threads, images, batch_size) for name in names)

    return [
        *(("images", pair(cores, count, usual)) for count in images),
        *(("threads", pair(count, fixed, usual)) for count in thread_counts(cores)),
        *(("batch_size", pair(cores, fixed, size)) for size in batch_sizes),
    ]


def thread_counts(cores: int) -> list[int]:
    """Return all numbers of threads up to four, powers of two above, and that of the cores."""
    return sorted({*range(1, min(4, cores) + 1), *(2**power for power in range(2, int(math.log2(cores)) + 1)), cores})


def fits(pair: Pair) -> bool:
    """Return whether the images of all leave half of the free memory to others; print a line if they do not."""
    task = pair[0]
    _, *image_shape = find_network(task.network)[0]["input_shape"]
    size = 4 * math.prod(image_shape) * task.images * len(pair)
    free = machine.free_memory()
    if size > free // 2:
        print(
            f"  {task.network}, {task.images:,} images: left out, they take {shown.megabytes(size)} "
            f"of {shown.megabytes(free)} that are free",
            flush=True,
        )
    return size <= free // 2


def measured_points(pair: Pair, quantity: str) -> list[Point]:
    """Return a point for each alternative."""
    value = getattr(pair[0], quantity)
    points = [
        {
            "network": task.network,
            "alternative": task.alternative,
            "quantity": quantity,
            "value": value,
            "images": task.images,
            "seconds": statistics.median(epoch.seconds for epoch in epochs),
            "all_seconds": [epoch.seconds for epoch in epochs],
            "others": statistics.median(epoch.others for epoch in epochs),
            "peak_memory": memory,
        }
        for task, (epochs, memory) in zip(pair, measure(pair), strict=True)
    ]
    times = ", ".join(f"{point['alternative']} {shown.seconds(point['seconds'])}" for point in points)
    rounds = len(points[0]["all_seconds"])
    print(f"  {pair[0].network}, {quantity} {value:,}, {rounds} rounds: {times}", flush=True)
    return points


@functools.cache
def measure(pair: Pair) -> list[tuple[list[Measured], int]]:
    """Have the alternatives compute epochs in turn; return those of each, and its peak memory in bytes.

    A point of two quantities is measured once.
    """
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(AlternativeProcess(task, Path(sys.executable))) for task in pair]
        start = time.perf_counter()
        for process in processes:
            process.epoch()
        rounds = round(ROUNDS_SECONDS / (time.perf_counter() - start))
        rounds = min(max(rounds, FEWEST_ROUNDS), MOST_ROUNDS)
        epochs = [[process.epoch() for process in processes] for _ in range(rounds)]
        memory = [process.peak_memory() for process in processes]
    return list(zip(map(list, zip(*epochs, strict=True)), memory, strict=True))


def report(result: dict[str, Any]) -> str:
    """Return a table for each quantity, in Markdown, and a line on the machine."""
    on = result["machine"]
    others = [point["others"] for point in result["points"]]
    rounds = [len(point["all_seconds"]) for point in result["points"]]
    fixed = next(point["images"] for point in result["points"] if point["quantity"] == "threads")
    circumstances = (
        f"Medians of alternating rounds, {min(rounds)} to {max(rounds)} after one that warms up. "
        f"Where threads or minibatches grow, an epoch has {fixed:,} images. "
        f"{on['processor']}, {on['cores']} cores. Load average {result['load_before']:.2f} before, "
        f"{result['load_after']:.2f} after; everything else on the machine kept {statistics.median(others):.2f} cores "
        f"busy (median), {max(others):.2f} at most."
    )
    return "\n\n".join([*(table(result["points"], quantity) for quantity in QUANTITIES), circumstances])


def table(points: list[Point], quantity: str) -> str:
    """Return a row for each value of a quantity; time is in seconds an epoch."""
    of_quantity = [point for point in points if point["quantity"] == quantity]
    lines = list(dict.fromkeys((point["network"], point["alternative"]) for point in of_quantity))
    values = sorted({point["value"] for point in of_quantity})
    found = {(point["network"], point["alternative"], point["value"]): point for point in of_quantity}
    header = [QUANTITIES[quantity], *(f"{network.upper()}, {label(name)}" for network, name in lines)]
    rows = [[f"{value:,}", *(cell(found.get((*line, value)), quantity) for line in lines)] for value in values]
    return markdown_table(header, rows)


def cell(point: Point | None, quantity: str) -> str:
    """Write the time of a point, and its memory where the images grow."""
    if point is None:
        return ""
    memory = f", {shown.megabytes(point['peak_memory'])}" if quantity == "images" else ""
    return f"{shown.seconds(point['seconds'])}{memory}"


def label(name: str) -> str:
    """Return the name of an alternative in tables and plots."""
    return ALTERNATIVES[name].label.replace("`", "")


def draw(points: list[Point], path: Path) -> None:
    """Draw a panel for each quantity, both axes logarithmic: a straight line with slope 1 is proportional."""
    from matplotlib.ticker import NullFormatter, NullLocator

    figure = shown.new_figure(12, 4)
    for axes, (quantity, title) in zip(figure.subplots(1, len(QUANTITIES)), QUANTITIES.items(), strict=True):
        of_quantity = [point for point in points if point["quantity"] == quantity]
        for network, name in dict.fromkeys((point["network"], point["alternative"]) for point in of_quantity):
            line = [point for point in of_quantity if (point["network"], point["alternative"]) == (network, name)]
            axes.plot(
                [point["value"] for point in line],
                [point["seconds"] for point in line],
                marker="o" if ALTERNATIVES[name].is_ours else "s",
                linestyle="-" if network == "cnn" else "--",
                color=shown.BLUE if ALTERNATIVES[name].is_ours else shown.ORANGE,
                label=f"{network.upper()}, {label(name)}",
            )
        values = sorted({point["value"] for point in of_quantity})
        axes.set(xscale="log", yscale="log", xlabel=title)
        axes.set_xticks(values, [f"{value:,}" for value in values], rotation=45)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(visible=True, axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("seconds an epoch")
    figure.axes[0].legend(fontsize="small")
    shown.save(figure, path)
    print(f"The plot is {path.relative_to(shown.ROOT)}.")


if __name__ == "__main__":
    main()
