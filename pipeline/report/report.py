"""The report: one page that shows what came out, how it came out, and how to make it again.

`write` is the stage's function. A module is a part of the page (`summary`, `learning`, `classes`, `layers`,
`origin`) or serves them: `figures` and `graph` draw, `plots` brings figures into files and into the page,
`examples` chooses test images, `revision` asks git for the commit, `markup` and `page` write HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.data.dataset import GRAYSCALE_NAME, open_dataset
from pipeline.networks.weights import WEIGHTS_NAME
from pipeline.progress.monitor import Monitor
from pipeline.report import architecture, classes, learning, origin, revision, summary
from pipeline.report.network_results import NetworkResults
from pipeline.report.page import page
from pipeline.report.plots import Plotter
from pipeline.store.stage import Stage

REPORT_NAME = "report.html"
NETWORK_BYTES = 1 << 20
"""More than what a network adds to the page and its files, but for what shows its weights."""


def write(
    output: Path,
    *,
    networks: Sequence[str],
    images: Path,
    sources: Mapping[str, Stage],
    run: str,
    command: str = "",
    settings: Mapping[str, str] | None = None,
    previous: Mapping[str, float] | None = None,
    comparison: Path | None = None,
    comparison_sha256: str | None = None,  # noqa: ARG001, it stands in the key for what is in the file
    monitor: Monitor,
    **folders: Path,
) -> None:
    """Write ``report.html``, and each of its figures as ``NAME.png`` and ``NAME.svg``.

    Parameters
    ----------
    networks : sequence of str
        The names of the networks, in the order in which the page has them.
    images : Path
        The folder of the test images, in grayscale, with rows and columns.
    sources : mapping of str to Stage
        The stages whose results these are, for the drawing of the pipeline.
    run : str
        The run that is under way; ``command`` is what started it.
    settings : mapping of str to str, optional
        The settings that differ from the luigi.cfg of the code, by ``SECTION.NAME``.
    previous : mapping of str to float, optional
        The test accuracies of the previous report, by network.
    comparison : Path, optional
        The ``comparison.json`` of engines that there is.
    folders : Path
        For each network ``trained_NAME`` and ``evaluated_NAME``, the folders of its results.

    Raises
    ------
    DatasetError, StoreError, WeightsError
        A file is missing or damaged.
    """
    shown = [NetworkResults.read(name, folders[f"trained_{name}"], folders[f"evaluated_{name}"]) for name in networks]
    with open_dataset(images / GRAYSCALE_NAME) as file:
        data = file.description
        test_images, labels = file.read("test")
    plotter = Plotter(output)
    taken = origin.steps(sources.values(), run)
    sections = [
        summary.results(shown, previous or {}),
        learning.curves(shown, plotter),
        summary.engines(comparison, data.archive_sha256),
        classes.mistakes(shown, plotter),
        classes.test_images(shown, test_images, labels, data.class_names),
        architecture.first_layers(shown, plotter),
        architecture.layers(shown),
        origin.pipeline(taken, sources.values(), datetime.now(UTC)),
        origin.recipe(taken, data, command, settings or {}, revision.commit()),
    ]
    document = page(f"{data.title}, in grayscale", summary.heading(shown, data), sections)
    (output / REPORT_NAME).write_text(document, encoding="utf-8")
    monitor.say(f"{REPORT_NAME}: {len(document) / 1e3:.0f} kB")


def max_output_bytes(**folders: object) -> int:
    """Return the maximum size of the result: weights are shown in two files and in the page."""
    trained = [folder for key, folder in folders.items() if key.startswith("trained_") and isinstance(folder, Path)]
    return sum(NETWORK_BYTES + 3 * (folder / WEIGHTS_NAME).stat().st_size for folder in trained)
