"""What may be shown of a URL."""

from __future__ import annotations

import re


def without_secrets(text: str) -> str:
    """Return a text in which URLs have lost their passwords, and their queries, which may be signatures.

    Returns
    -------
    str
        ``https://host/path?...`` for ``https://name:password@host/path?key=secret``.
    """
    without_passwords = re.sub(r"(\w:/+)[^\s/?#'\"]*@", r"\1", text)
    return re.sub(r"(\w:/+[^\s?#'\"]*)[?#][^\s'\")]+", r"\1?...", without_passwords)
