"""The page around the report's sections: one file, which loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.report.markup import Markup, element, joined

STYLE = Path(__file__).with_name("style.css")

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What the browser is to let the page do: show the pictures and the style that are in it."""


class Section(NamedTuple):
    """A part of the page under a heading; ``anchor`` is what a link to it ends with."""

    anchor: str
    title: str
    content: Markup


def section(anchor: str, title: str, *content: Markup) -> Section:
    """Put content under a heading."""
    return Section(anchor, title, joined(content))


def page(title: str, heading: Markup, sections: Iterable[Section | None]) -> str:
    """Write the whole document: the heading, links to the sections, and those; None stands for one that is left out."""
    shown = [part for part in sections if part]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    main = element("main", heading, _links(shown), *map(_section, shown))
    return f"<!DOCTYPE html>\n{element('html', head, element('body', main), lang='en')}\n"


def _links(sections: Iterable[Section]) -> Markup:
    links = [element("li", _link(part)) for part in sections]
    return element("nav", element("ul", *links), aria_label="Sections")


def _section(part: Section) -> Markup:
    return element("section", element("h2", _link(part)), part.content, id=part.anchor)


def _link(part: Section) -> Markup:
    return element("a", part.title, href=f"#{part.anchor}")
