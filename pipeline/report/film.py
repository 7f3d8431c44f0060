"""Write the section that plays each training as a film, and the data of the films, which the page's script shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.report.markup import Markup, Section, element
from pipeline.report.network_results import NetworkResults
from pipeline.report.script import packed
from pipeline.training.film import FILM_NAME, Film, read_film
from pipeline.training.history import Epoch

MAX_FRAMES = 200
"""Maximum number of epochs that a film shows."""

MAX_CELLS = 1 << 20
"""Maximum number of cells of a film's confusion matrices: 16 matrices of 256 classes."""

LEVELS = 31
"""Shades of gray above mid-gray, and below it. With 127, the filters of the article's MLP take twice as many bytes."""

WHOLE = 10_000
"""A probability of 1, as films hold it."""


def film_section() -> Section:
    """Write the places that the script fills: the controls, and what a film shows of an epoch."""
    note = (
        "Each epoch of the training in turn. Weights are white where a bright pixel raises a unit’s output, and black "
        "where it lowers it, scaled by the unit’s largest weight in all epochs."
    )
    screen = element(
        "div",
        _controls(),
        element(
            "div",
            element("div", element("h3", "Losses and accuracy"), _place("curves"), _place("figures")),
            element("div", element("h3", "Validation images, by class"), _place("confusion")),
            class_="pair",
        ),
        _place("layer"),
        element("h3", "Test images, the first of each class"),
        element("div", class_="film-images gallery"),
        class_="film film-screen",
        hidden=True,
    )
    without = element("noscript", element("p", "This section needs JavaScript."))
    return Section("film", "Learning, as a film", [element("p", note), without, screen])


def _controls() -> Markup:
    return element(
        "div",
        element("button", "Play", type="button", class_="film-play"),
        _place("choice"),
        # With autocomplete, Firefox restores the place that the slider had in an earlier visit.
        element("input", type="range", min=0, class_="film-slider", aria_label="Epoch", autocomplete="off"),
        element("strong", class_="film-title"),
        class_="film-controls",
    )


def _place(name: str) -> Markup:
    return element("div", class_=f"film-{name}")


def film_data(network: NetworkResults) -> dict[str, Any]:
    """Return the film of a network's training, as ``film/frames.js`` unpacks it.

    ``images`` in it are the indices of the test images that it shows. The page has their pictures and labels once for
    all networks.
    """
    film = read_film(network.trained / FILM_NAME)
    frames = shown_frames(len(network.epochs), len(film.confusion[0]))
    article = network.article.runs if network.article else ()
    return {
        "epochs": [network.epochs[frame].epoch for frame in frames],
        "rows": _rows(network.epochs[frame] for frame in frames),
        "article": [{"label": run.label, "rows": _rows(run.epochs)} for run in article],
        "filters": _filters(network, film, frames),
        "confusion": packed(film.confusion[frames]),
        "images": film.images.tolist(),
        # Rounded down, so that only a probability of 1 is written as 100%.
        "probabilities": packed(np.floor(film.probabilities[frames].astype(np.float64) * WHOLE).astype(np.uint16)),
    }


def shown_frames(epochs: int, classes: int) -> list[int]:
    """Choose the epochs that a film shows, counted from 0: all, or the first and every k-th after it, and the last."""
    most = max(2, min(MAX_FRAMES, MAX_CELLS // classes**2))
    step = max(1, math.ceil((epochs - 1) / (most - 1)))
    return [*range(0, epochs - 1, step), epochs - 1]


def _rows(epochs: Iterable[Epoch]) -> list[list[float]]:
    # The article's tables have six digits.
    return [[round(value, 6) for value in (row.train_loss, row.valid_loss, row.valid_accuracy)] for row in epochs]


def _filters(network: NetworkResults, film: Film, frames: Sequence[int]) -> dict[str, Any] | None:
    """Pack the pictures of the first layer's weights as differences from frame to frame; None if there are none."""
    _, units, rows, columns = film.filters.shape
    if not units:
        return None
    layer = next(layer for layer in network.network.layers if layer.weight_shapes)
    return {
        "layer": layer.name,
        "units": layer.output_shape[0],
        "shown": units,
        "rows": rows,
        "columns": columns,
        "levels": LEVELS,
        "frames": packed(_differences(_shades(film, frames))),
    }


def _shades(film: Film, frames: Sequence[int]) -> npt.NDArray[np.int8]:
    """Return each weight as a share of its unit's largest one in all epochs, from -`LEVELS` to `LEVELS`."""
    largest = np.maximum(film.scales.max(0), np.finfo(np.float32).tiny)
    growth = (film.scales[frames] / largest)[:, :, np.newaxis, np.newaxis]
    pictures = (film.filters[frames].astype(np.float32) - 128) / 127
    shades: npt.NDArray[np.int8] = np.rint(LEVELS * growth * pictures).astype(np.int8)
    return shades


def _differences(frames: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    return np.diff(frames, axis=0, prepend=np.zeros_like(frames[:1]))
