"""Write the page around the report's sections: one file that loads no other and has no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.report.markup import Markup, element

STYLE = Path(__file__).with_name("style.css")

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser shows the page's own pictures and style; it loads and runs nothing."""


class Section(NamedTuple):
    """A section of the page; ``anchor`` is its id, for links to it."""

    anchor: str
    title: str
    content: Sequence[Markup]


def page(title: str, heading: Markup, sections: Iterable[Section | None]) -> str:
    """Write the document: the heading, links to the sections, and the sections; None among them is left out."""
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
    links = element("nav", element("ul", *(element("li", _link(part)) for part in shown)), aria_label="Sections")
    written = [element("section", element("h2", _link(part)), *part.content, id=part.anchor) for part in shown]
    main = element("main", heading, links, *written)
    return f"<!DOCTYPE html>\n{element('html', head, element('body', main), lang='en')}\n"


def _link(part: Section) -> Markup:
    return element("a", part.title, href=f"#{part.anchor}")
