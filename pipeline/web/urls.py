"""What may be shown of URLs, and of what those say who answer at them."""

from __future__ import annotations

import re

HIDDEN = "?..."
"""What stands for a query that is not shown."""


def without_secrets(text: str) -> str:
    """Return a text without what is nobody's business: passwords in URLs, and their queries, which may be signatures.

    Characters that a terminal would obey, not show, are replaced.

    Returns
    -------
    str
        ``https://host/path?...`` for ``https://name:password@host/path?key=secret``.
    """
    without_passwords = re.sub(r"(\w:/+)[^\s/?#]*@", r"\1", text)
    shown = re.sub(r"(\w:/+[^\s?#]*)[?#][^\s'\")]+", rf"\1{HIDDEN}", without_passwords)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
