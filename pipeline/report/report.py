"""Write the report: one page with the results, their origin, and how to reproduce them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.data.dataset import IMAGES_NAME, open_dataset
from pipeline.networks.weights import WEIGHTS_NAME
from pipeline.progress.monitor import Monitor
from pipeline.report.architecture import first_layers_section, layers_section
from pipeline.report.classes import classes_section
from pipeline.report.examples import shown_images, test_images_section
from pipeline.report.film import film_data, film_section
from pipeline.report.learning import learning_section
from pipeline.report.markup import page
from pipeline.report.network_results import NetworkResults, read_record
from pipeline.report.origin import pipeline_section, recipe_section
from pipeline.report.script import page_data, script_text
from pipeline.report.summary import engines_section, lede, results_section
from pipeline.report.sweep import sweep_section
from pipeline.report.try_it import layers_and_weights, try_it_section
from pipeline.training.film import FILM_NAME

REPORT_NAME = "report.html"
NETWORK_BYTES = 1 << 20
"""More bytes than a network adds to the page and its files, besides its weights."""


def write_report(
    output: Path,
    *,
    networks: Sequence[str],
    images: Path,
    results: Sequence[Path],
    run: str,
    command: str = "",
    settings: Mapping[str, str] | None = None,
    previous: Mapping[str, float] | None = None,
    comparison: Path | None = None,
    comparison_sha256: str | None = None,  # noqa: ARG001, it puts the content of the file into the key
    sweep: Path | None = None,
    sweep_sha256: str | None = None,  # noqa: ARG001, as before
    monitor: Monitor,
    **folders: Path,
) -> None:
    """Write ``report.html``, and each of its figures as ``NAME.png`` and ``NAME.svg``.

    Parameters
    ----------
    networks : sequence of str
        Their names, in the order in which the page shows them.
    images : Path
        The folder of the images in color.
    results : sequence of Path
        The folders of the results of all stages, in the order in which data flows.
    run, command : str
        The id of the run, and the command that started it.
    settings : mapping of str to str, optional
        The settings that differ from the luigi.cfg of the code, by ``SECTION.NAME``.
    previous : mapping of str to float, optional
        The test accuracies of the previous report, by network.
    comparison : Path, optional
        The ``comparison.json`` of the last comparison of engines.
    sweep : Path, optional
        The ``sweep.json`` of the last sweep.
    folders : Path
        The folders of each network's results, ``trained_NAME`` and ``evaluated_NAME``.

    Raises
    ------
    DatasetError, StoreError, WeightsError, FilmError
        A file is missing or damaged.
    """
    shown = [NetworkResults.read(name, folders[f"trained_{name}"], folders[f"evaluated_{name}"]) for name in networks]
    with open_dataset(images / IMAGES_NAME) as opened:
        data = opened.description
        test_images, labels = opened.read("test")
    records = {folder: read_record(folder) for folder in results}
    sections = [
        results_section(shown, previous or {}),
        try_it_section(shown),
        learning_section(shown, output),
        film_section(),
        sweep_section(sweep, data.archive_sha256, output),
        engines_section(comparison, data.archive_sha256),
        classes_section(shown, output),
        test_images_section(shown, test_images, labels, data.class_names),
        first_layers_section(shown, output),
        layers_section(shown),
        pipeline_section(records, run, [images, *folders.values()]),
        recipe_section(records.values(), data, command, settings or {}),
    ]
    films, to_try = {network.name: film_data(network) for network in shown}, layers_and_weights(shown)
    for_script = {
        "classes": data.class_names,
        "images": shown_images(test_images, labels, {index for film in films.values() for index in film["images"]}),
        "networks": [
            {"title": network.title, "film": films[network.name], **to_try.get(network.name, {})} for network in shown
        ],
    }
    title = f"{data.title}, in grayscale"
    document = page(title, lede(shown, data), sections, page_data(for_script), script_text())
    (output / REPORT_NAME).write_text(document, encoding="utf-8")
    monitor.log(f"{REPORT_NAME}: {len(document) / 1e3:.0f} kB")


def max_output_bytes(**folders: object) -> int:
    """Return the maximum output size in bytes: the page and two files show the weights, and the page the films."""
    trained = [folder for key, folder in folders.items() if key.startswith("trained_") and isinstance(folder, Path)]
    sizes = [[(folder / name).stat().st_size for name in (WEIGHTS_NAME, FILM_NAME)] for folder in trained]
    return sum(NETWORK_BYTES + 3 * weights + 2 * film for weights, film in sizes)
