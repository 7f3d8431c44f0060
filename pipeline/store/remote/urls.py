"""Check the URL of a remote."""

from __future__ import annotations

from urllib.parse import urlsplit

from pipeline.errors import SettingError

SCHEMES = ("s3", "gs", "az", "file")


def check_remote(url: str) -> None:
    """Raise `SettingError` for a text that is no URL of a remote, or that has a password or a query."""
    try:
        parts = urlsplit(url)
        has_more = bool(parts.query or parts.fragment or "@" in parts.netloc)
        is_file = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
        is_bucket = parts.scheme in SCHEMES and parts.scheme != "file" and bool(parts.hostname)
    except ValueError:
        has_more = is_file = is_bucket = False
    if has_more:
        raise SettingError(
            "store.remote has a password, a query or a fragment; expected a URL without. Set credentials in the "
            "environment, such as AWS_ACCESS_KEY_ID, or in their usual files."
        )
    if not (is_file or is_bucket) or not url.isprintable() or " " in url:
        raise SettingError(
            f"store.remote is {url!r}; expected a URL such as s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, "
            "az://CONTAINER/PREFIX or file:///FOLDER."
        )
