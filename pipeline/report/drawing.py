"""Draw figures in one style, and save them as PNG, as SVG and inside a page.

A figure has one ink and a few colours. Inside a page they become the colours of the page's style, so that one figure
serves on a light and on a dark background.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pipeline.report.inline_svg import inline_svg
from pipeline.report.markup import Markup, element

INK = "#20252b"
"""Text, axes and grids."""

BLUE, VERMILION = "#0072b2", "#d55e00"

GROUND = "#ffffff"
"""The background."""

IN_A_PAGE = {INK: "currentColor", GROUND: "none", BLUE: "var(--blue)", VERMILION: "var(--vermilion)"}

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    # Colour-blind people can distinguish these: Okabe and Ito, "Color Universal Design" (2008).
    "axes.prop_cycle": cycler(color=[BLUE, "#e69f00", "#009e73", "#cc79a7", VERMILION, "#56b4e9"]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": GROUND,
    "font.size": 9,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a class may have a dollar sign in its name
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def styled(salt: str) -> Iterator[None]:
    """Set the project's style while a figure is drawn and saved; ``salt`` makes the ids of its SVG unique in a page."""
    # Matplotlib warns of characters that its font lacks; the PNG shows a box instead.
    missing = "Glyph .* missing from|Matplotlib currently does not support .* natively"
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", missing, UserWarning)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; sizes are in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as ``NAME.png`` and ``NAME.svg``; the same figure gives the same bytes."""
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine("none")  # or each of the two files would compute the layout
    # `savefig` would draw each file twice, the first time to find its size.
    FigureCanvasSVG(figure).print_svg(folder / f"{name}.svg", metadata={"Date": None})  # type: ignore[no-untyped-call]
    figure.set_dpi(130)
    FigureCanvasAgg(figure).print_png(folder / f"{name}.png", metadata={"Software": None})  # type: ignore[no-untyped-call]


def plot(
    folder: Path, name: str, title: str, description: str, draw: Callable[..., Figure | None], *drawn: object
) -> Markup:
    """Draw a figure, write ``NAME.png`` and ``NAME.svg`` to a folder, and return it as an element of the page.

    The description is for readers who do not see the figure. The element is empty if ``draw(*drawn)`` returns None.
    """
    with styled(name):
        figure = draw(*drawn)
        if figure is None:
            return Markup()
        save(figure, folder, name)
    shown = inline_svg((folder / f"{name}.svg").read_text(encoding="utf-8"), description, IN_A_PAGE)
    return element("figure", element("figcaption", title), shown, id=name, class_="plot")
