"""HTML as nested calls: whatever is not markup already is escaped on its way in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

VOID = {"br", "img", "link", "meta"}
"""Elements without content or end tag, as far as they are used here."""


class Markup(str):
    """Text that is HTML; any other string is text to escape."""

    __slots__ = ()


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """Write an element.

    An attribute's underscores become hyphens, and one at its end, as in ``class_``, is dropped. True stands
    for an attribute without value; None and False leave it out.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    start = f"<{tag}{written}>"
    return Markup(start) if tag in VOID else Markup(f"{start}{joined(content)}</{tag}>")


def joined(parts: Iterable[object]) -> Markup:
    """Put text and markup one after the other."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in parts))


def table(caption: str, header: Sequence[object], rows: Iterable[Sequence[object]], **attributes: object) -> Markup:
    """Write a table whose rows each begin with what they are about; a wide one can be scrolled sideways.

    A cell that is an element `td` already is taken as it is.
    """
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = [element("tr", element("th", row[0], scope="row"), *map(_cell, row[1:])) for row in rows]
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body), **attributes)
    return element("div", whole, class_="scroll", role="region", aria_label=caption, tabindex=0)


def section(title: str, *content: Markup) -> Markup:
    """Put content under a heading."""
    return element("section", element("h2", title), *content)


def percent(share: float, digits: int = 2, id_: str | None = None) -> Markup:
    """Write a share in per cent, with the exact value for programs."""
    return element("data", f"{100 * share:.{digits}f}%", value=repr(share), id=id_)


def number(value: float, form: str) -> Markup:
    """Write a number in a form such as ``.2f``, likewise."""
    return element("data", format(value, form), value=repr(value))


def _cell(content: object) -> Markup:
    if isinstance(content, Markup) and content.startswith("<td"):
        return content
    return element("td", content)


def _attribute(name: str, value: object) -> str:
    name = name.removesuffix("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
