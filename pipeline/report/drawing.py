"""How figures look, and the forms in which one is kept: as PNG, as SVG, and inside a page.

Every figure is drawn once, in one ink and a few colours. Inside a page the ink becomes the colour of the
page's text and the colours become the page's, so that one figure serves on a light and on a dark ground.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#20252b"
"""Text, axes and grids."""

BLUE, VERMILION = "#0072b2", "#d55e00"

OKABE_ITO = [BLUE, "#e69f00", "#009e73", "#cc79a7", VERMILION, "#56b4e9"]
"""Colours that colour-blind people tell apart: Okabe and Ito, "Color Universal Design" (2008)."""

GROUND = "#ffffff"

PNG_DPI = 130

IN_A_PAGE = {INK: "currentColor", GROUND: "none", BLUE: "var(--blue)", VERMILION: "var(--vermilion)"}

MISSING_CHARACTER = "Glyph .* missing from|Matplotlib currently does not support .* natively"
"""How Matplotlib warns of a character that its font lacks; a box stands for it, in a PNG alone."""

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=OKABE_ITO),
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
    """Draw and save in the project's style; ``salt`` keeps the ids of one SVG apart from another's."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING_CHARACTER, UserWarning)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; sizes are in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as ``NAME.png`` and ``NAME.svg``; the same figure gives the same bytes."""
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine("none")  # once is enough for both
    # `savefig` would draw each form twice, to find out first how large it is.
    FigureCanvasSVG(figure).print_svg(folder / f"{name}.svg", metadata={"Date": None})  # type: ignore[no-untyped-call]
    figure.set_dpi(PNG_DPI)
    FigureCanvasAgg(figure).print_png(folder / f"{name}.png", metadata={"Software": None})  # type: ignore[no-untyped-call]


def for_page(svg: str, description: str) -> str:
    """Turn a saved SVG into an element of a page, which takes its colours and its font from there.

    The description is for those who do not see it.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if f"#{found[1]}" in svg else "", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    start = f'<svg {view_box[0] if view_box else ""} role="img" aria-label="{escape(description)}">'
    svg = re.sub(r"^<svg[^>]*>", lambda _: start, svg)
    for colour, in_page in IN_A_PAGE.items():
        svg = svg.replace(colour, in_page)
    return svg
