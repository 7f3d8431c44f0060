"""Draw the stages of a run as boxes and arrows, from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.markup import Markup, element

LEAST_WIDTH, HEIGHT = 164, 50
ACROSS, DOWN = 20, 34
"""Sizes of a box and of the gaps between boxes, in pixels of the page."""

CHARACTER = 9.5
"""Width of a character of a box's name: more than the mean of the page's fonts."""


@dataclass(frozen=True)
class Box:
    """A stage in the drawing; ``kind`` is its CSS class, ``detail`` the line below its name."""

    name: str
    kind: str
    detail: str
    inputs: tuple[str, ...]


def draw(boxes: Sequence[Box], title: str) -> Markup:
    """Draw boxes, each below its inputs, and arrows from the inputs to them.

    An arrow that a longer path implies is left out.
    """
    inputs = {box.name: box.inputs for box in boxes}
    box_width = max(LEAST_WIDTH, *(math.ceil(CHARACTER * len(box.name)) for box in boxes))
    positions = _positions(boxes, _depths(inputs), box_width)
    width = max(x for x, _ in positions.values()) + box_width
    height = max(y for _, y in positions.values()) + HEIGHT
    arrows = [
        _arrow(positions[source], positions[name], box_width)
        for name in inputs
        for source in inputs[name]
        if not any(source in _ancestors(inputs, other) for other in inputs[name])
    ]
    return element(
        "svg",
        _ARROW_HEAD,
        *arrows,
        *(_drawn(box, *positions[box.name], box_width) for box in boxes),
        viewBox=f"-2 -2 {width + 4} {height + 4}",
        role="img",
        aria_label=title,
        class_="graph",
        width=width + 4,
        height=height + 4,
    )


def _depths(inputs: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return the row of each box: one below the lowest of its inputs."""
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths[name] = max((depth(source) + 1 for source in inputs[name]), default=0)
        return depths[name]

    for name in inputs:
        depth(name)
    return depths


def _positions(boxes: Iterable[Box], depths: Mapping[str, int], box_width: int) -> dict[str, tuple[float, float]]:
    """Return the position of each box: side by side in its row, the row centered."""
    rows: dict[int, list[str]] = {}
    for box in boxes:
        rows.setdefault(depths[box.name], []).append(box.name)
    widest = max(map(len, rows.values()))
    return {
        name: ((column + (widest - len(names)) / 2) * (box_width + ACROSS), row * (HEIGHT + DOWN))
        for row, names in rows.items()
        for column, name in enumerate(names)
    }


def _ancestors(inputs: Mapping[str, Iterable[str]], name: str) -> set[str]:
    return {found for source in inputs[name] for found in (source, *_ancestors(inputs, source))}


_ARROW_HEAD = element(
    "defs",
    element(
        "marker",
        element("path", d="M0 0 8 4 0 8z", fill="currentColor"),
        id="arrow-head",
        viewBox="0 0 8 8",
        refX=7,
        refY=4,
        markerWidth=7,
        markerHeight=7,
        orient="auto",
    ),
)


def _arrow(source: tuple[float, float], target: tuple[float, float], box_width: int) -> Markup:
    from_x, from_y = source[0] + box_width / 2, source[1] + HEIGHT
    to_x, to_y = target[0] + box_width / 2, target[1] - 2
    middle = (from_y + to_y) / 2
    return element(
        "path",
        d=f"M{from_x:g} {from_y:g}C{from_x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}",
        class_="arrow",
        marker_end="url(#arrow-head)",
    )


def _drawn(box: Box, x: float, y: float, width: int) -> Markup:
    middle = x + width / 2
    return element(
        "g",
        element("rect", x=f"{x:g}", y=f"{y:g}", width=width, height=HEIGHT, rx=8),
        element("text", box.name, x=f"{middle:g}", y=f"{y + 21:g}", class_="name"),
        element("text", box.detail, x=f"{middle:g}", y=f"{y + 38:g}"),
        class_=f"box {box.kind}",
    )
