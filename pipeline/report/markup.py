"""HTML as nested calls: whatever is not markup already is escaped on its way in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Collection[str] = (),
    **attributes: object,
) -> Markup:
    """Write a table whose rows each begin with what they are about.

    The columns whose names are in ``numbers`` are aligned at the right. A cell that is an element `td` already is
    taken as it is.
    """
    classes = ["number" if name in numbers else None for name in header]
    names = [element("th", name, scope="col", class_=kind) for name, kind in zip(header, classes, strict=True)]
    body = [element("tr", element("th", row[0], scope="row"), *map(_cell, row[1:], classes[1:])) for row in rows]
    head = element("thead", element("tr", *names))
    whole = element("table", element("caption", caption), head, element("tbody", *body), **attributes)
    return scrolled(caption, whole)


def scrolled(title: str, content: Markup) -> Markup:
    """Let content that is too wide be scrolled sideways; the style shows at which edge there is more."""
    return element("div", content, class_="scroll", role="region", aria_label=title, tabindex=0)


def legend(*entries: tuple[str, str]) -> Markup:
    """Say what colours and marks mean: pairs of a mark's class in the style sheet and its meaning."""
    items = [element("li", element("i", class_=mark), meaning) for mark, meaning in entries]
    return element("ul", *items, class_="legend")


def percent(share: float, digits: int = 2, id_: str | None = None) -> Markup:
    """Write a share in per cent, with the exact value for programs."""
    return element("data", f"{100 * share:.{digits}f}%", value=repr(share), id=id_)


def number(value: float, form: str) -> Markup:
    """Write a number in a form such as ``.2f``, likewise."""
    return element("data", format(value, form), value=repr(value))


def _cell(content: object, kind: str | None) -> Markup:
    if isinstance(content, Markup) and content.startswith("<td"):
        return content
    return element("td", content, class_=kind)


def _attribute(name: str, value: object) -> str:
    name = name.removesuffix("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
