"""Check URLs, and redact secrets in URLs and in servers' messages.

This is a module of its own so that importing `tasks` does not import an HTTP client.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SCHEMES = ("http", "https")
HIDDEN = "?..."
"""Stands for a query that is not shown."""


def is_web_url(url: str) -> bool:
    """Return whether a text is an HTTP or HTTPS URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def without_secrets(text: str) -> str:
    """Return a text without the passwords in its URLs, and without their queries, which may be signatures.

    Control characters, which could steer a terminal, are replaced.

    Returns
    -------
    str
        ``https://host/path?...`` for ``https://name:password@host/path?key=secret``.
    """
    without_passwords = re.sub(r"(\w:/+)[^\s/?#]*@", r"\1", text)
    shown = re.sub(r"(\w:/+[^\s?#]*)[?#][^\s'\")]+", rf"\1{HIDDEN}", without_passwords)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
