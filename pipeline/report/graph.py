"""Draw the stages of a run as boxes and arrows, from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.report.markup import Markup, element

LEAST_WIDTH, HEIGHT = 164, 50
ACROSS, DOWN = 20, 34
"""Sizes of a box and of the gaps between boxes, in pixels."""

CHARACTER = 9.5
"""Width of a character of a box's name, in pixels: more than the mean in the page's fonts."""


@dataclass(frozen=True)
class Box:
    """A stage in the drawing; ``kind`` is its CSS class, ``detail`` the line below its name."""

    name: str
    kind: str
    detail: str
    inputs: tuple[str, ...]


def draw(boxes: Sequence[Box], title: str) -> Markup:
    """Draw boxes below their inputs, and arrows from the inputs; an arrow that a longer path implies is left out.

    The inputs of a box come before it. The title is for readers who do not see the drawing.
    """
    box_width = max(LEAST_WIDTH, *(math.ceil(CHARACTER * len(box.name)) for box in boxes))
    places = _places(boxes, box_width)
    width = max(x for x, _ in places.values()) + box_width / 2
    height = max(y for _, y in places.values()) + HEIGHT
    arrows, drawn = [], []
    ancestors: dict[str, set[str]] = {}
    for box in boxes:
        further = set().union(*(ancestors[source] for source in box.inputs))
        ancestors[box.name] = further.union(box.inputs)
        arrows += [_arrow(*places[source], *places[box.name]) for source in box.inputs if source not in further]
        drawn.append(_drawn(box, *places[box.name], box_width))
    return element(
        "svg",
        _ARROW_HEAD,
        *arrows,
        *drawn,
        viewBox=f"-2 -2 {width + 4} {height + 4}",
        role="img",
        aria_label=title,
        class_="graph",
        width=width + 4,
        height=height + 4,
    )


def _places(boxes: Iterable[Box], box_width: int) -> dict[str, tuple[float, float]]:
    """Return the middle and the top of each box: in the row below the lowest of its inputs; each row is centered."""
    depths: dict[str, int] = {}
    rows: dict[int, list[str]] = {}
    for box in boxes:
        depths[box.name] = max((depths[source] + 1 for source in box.inputs), default=0)
        rows.setdefault(depths[box.name], []).append(box.name)
    widest = max(map(len, rows.values()))
    return {
        name: ((column + (widest - len(names)) / 2) * (box_width + ACROSS) + box_width / 2, row * (HEIGHT + DOWN))
        for row, names in rows.items()
        for column, name in enumerate(names)
    }


_ARROW_HEAD = Markup(
    '<defs><marker id="arrow-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="currentColor"></path></marker></defs>'
)


def _arrow(from_x: float, from_y: float, to_x: float, to_y: float) -> Markup:
    start, end = from_y + HEIGHT, to_y - 2
    middle = (start + end) / 2
    line = f"M{from_x:g} {start:g}C{from_x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {end:g}"
    return element("path", d=line, class_="arrow", marker_end="url(#arrow-head)")


def _drawn(box: Box, x: float, y: float, width: int) -> Markup:
    return element(
        "g",
        element("rect", x=f"{x - width / 2:g}", y=f"{y:g}", width=width, height=HEIGHT, rx=8),
        element("text", box.name, x=f"{x:g}", y=f"{y + 21:g}", class_="name"),
        element("text", box.detail, x=f"{x:g}", y=f"{y + 38:g}"),
        class_=f"box {box.kind}",
    )
