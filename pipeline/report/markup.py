"""Write HTML as nested calls, which escape all text: elements, tables, numbers as people read them, and the page."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Collection, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

VOID = {"br", "img", "input", "link", "meta"}
"""The elements used here that have no content and no end tag."""

STYLE = Path(__file__).with_name("style.css")


class Markup(str):
    """A string of HTML; other strings are text, which is escaped."""

    __slots__ = ()


class Section(NamedTuple):
    """A section of the page; ``anchor`` is its id, for links to it."""

    anchor: str
    title: str
    content: Sequence[Markup]


def page(title: str, lede: str, sections: Iterable[Section | None], data: Markup, script: str) -> str:
    """Write the page, one file that loads no other: title, lede, links to the sections, and those that are not None.

    The script comes last, after the element with its data.
    """
    links, written = [], []
    for section in filter(None, sections):
        link = element("a", section.title, href=f"#{section.anchor}")
        links.append(element("li", link))
        written.append(element("section", element("h2", link), *section.content, id=section.anchor))
    # The browser shows the page's own pictures and style and runs its one script; it loads nothing.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {_source_hash(script)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    header = element("header", element("h1", title), element("p", lede, class_="lede"))
    main = element("main", header, element("nav", element("ul", *links), aria_label="Sections"), *written)
    body = element("body", main, data, element("script", Markup(script)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _source_hash(script: str) -> str:
    """Return the source expression with which a Content-Security-Policy admits one script, and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """Write an element.

    In the names of attributes, underscores become hyphens, and an underscore at the end, as in ``class_``, is dropped.
    True is an attribute without a value; None and False leave the attribute out.
    """
    start = tag
    for name, value in attributes.items():
        if value is not None and value is not False:
            start += f" {name.removesuffix('_').replace('_', '-')}"
            start += "" if value is True else f'="{escape(str(value))}"'
    return Markup(f"<{start}>") if tag in VOID else Markup(f"<{start}>{joined(content)}</{tag}>")


def joined(parts: Iterable[object]) -> Markup:
    """Join text and markup, and escape the text."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in parts))


def html_table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Collection[str] = (),
    **attributes: object,
) -> Markup:
    """Write a table; the first cell of each row is its header.

    Columns whose names are in ``numbers`` are aligned right. A cell may be a ``td`` element itself.
    """

    def cell(content: object, kind: str | None) -> Markup:
        if isinstance(content, Markup) and content.startswith("<td"):
            return content
        return element("td", content, class_=kind)

    kinds = ["number" if name in numbers else None for name in header]
    names = [element("th", name, scope="col", class_=kind) for name, kind in zip(header, kinds, strict=True)]
    body = [element("tr", element("th", row[0], scope="row"), *map(cell, row[1:], kinds[1:])) for row in rows]
    head = element("thead", element("tr", *names))
    whole = element("table", element("caption", caption), head, element("tbody", *body), **attributes)
    return scrolled(caption, whole)


def png_uri(picture: Image.Image) -> str:
    """Return a picture as a PNG in a data URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def scrolled(title: str, content: Markup) -> Markup:
    """Make content that is too wide scroll sideways; the style puts shadows at the edges that hide a part."""
    return element("div", content, class_="scroll", role="region", aria_label=title, tabindex=0)


def legend(*entries: tuple[str, str]) -> Markup:
    """Write a legend from pairs: the class of a mark in the style sheet, and its meaning."""
    items = [element("li", element("i", class_=mark), meaning) for mark, meaning in entries]
    return element("ul", *items, class_="legend")


def number(value: float, form: str, **attributes: object) -> Markup:
    """Write a number in a format such as ``.2f`` or ``.1%``, with the exact value for programs."""
    return element("data", format(value, form), value=repr(value), **attributes)


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 epoch``, ``50 epochs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def value_text(value: object) -> str:
    """Write the value of a setting, a float without zeros at its end: ``0.005``, ``50``, ``numba``."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def named(name: str, value: object) -> str:
    """Write a setting with its value: ``learning rate 0.005``."""
    return f"{name.replace('_', ' ')} {value_text(value)}"


def duration(seconds: float) -> str:
    """Write a duration: ``53.2 s``, ``10.4 min``, ``2 h 27 min``; minutes after hours are rounded down."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
