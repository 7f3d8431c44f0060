"""The report's figures on their way into files and into the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.report import drawing
from pipeline.report.markup import Markup, element


class Plotter:
    """Draws figures, and writes each to a folder as PNG and SVG."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def plot(self, name: str, title: str, description: str, draw: Callable[[], Figure | None]) -> Markup:
        """Write ``NAME.png`` and ``NAME.svg``, and return the figure for the page; nothing where nothing is drawn.

        The description is for those who do not see the figure.
        """
        with drawing.styled(name):
            figure = draw()
            if figure is None:
                return Markup()
            drawing.save(figure, self._folder, name)
        svg = (self._folder / f"{name}.svg").read_text(encoding="utf-8")
        shown = Markup(drawing.for_page(svg, description))
        return element("figure", element("figcaption", title), shown, id=name, class_="plot")
