"""The page around the report's sections: one file, which loads nothing and runs nothing."""

from __future__ import annotations

from pathlib import Path

from pipeline.report.markup import Markup, element

STYLE = Path(__file__).with_name("style.css")

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What the browser is to let the page do: show the pictures and the style that are in it."""


def page(title: str, *sections: Markup) -> str:
    """Write the whole document."""
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
    return f"<!DOCTYPE html>\n{element('html', head, element('body', element('main', *sections)), lang='en')}\n"
