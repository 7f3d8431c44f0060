"""Find the settings of S3 that are in files; obstore reads only environment variables."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

FROM_FILES = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
"""Settings in the files, with obstore's names for them."""

VARIABLES = {
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
}
"""Environment variables that take precedence over the files."""

OTHER_SOURCES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_SKIP_SIGNATURE")
"""Environment variables that lead to credentials elsewhere, or to none."""


def s3_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return obstore's settings from the files of AWS's command line, as far as no environment variable sets them.

    The files are ``~/.aws/credentials`` and ``~/.aws/config``, or those that ``AWS_SHARED_CREDENTIALS_FILE`` and
    ``AWS_CONFIG_FILE`` name; ``AWS_PROFILE`` chooses a section. See
    https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html
    """
    profile = environment.get("AWS_PROFILE", "default")
    home = Path(environment.get("HOME", "~")).expanduser() / ".aws"
    section = profile if profile == "default" else f"profile {profile}"
    found = {
        **_read(Path(environment.get("AWS_CONFIG_FILE", home / "config")), section),
        **_read(Path(environment.get("AWS_SHARED_CREDENTIALS_FILE", home / "credentials")), profile),
    }
    settings = {FROM_FILES[name]: value for name, value in found.items() if name in FROM_FILES}
    for name, variables in VARIABLES.items():
        if given := next(filter(None, map(environment.get, variables)), None):
            settings[name] = given
    if any(environment.get(name) for name in (*VARIABLES["access_key_id"], *OTHER_SOURCES)):
        for name in ("access_key_id", "secret_access_key", "session_token"):
            settings.pop(name, None)  # the parts of credentials belong together
    return settings


def has_credentials(environment: Mapping[str, str], settings: Mapping[str, str]) -> bool:
    """Return whether credentials for S3 are known; without them obstore would ask a server of the cloud's machines."""
    given = (*VARIABLES["access_key_id"], *OTHER_SOURCES)
    return "access_key_id" in settings or any(environment.get(name) for name in given)


def _read(path: Path, section: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return {}
    return dict(parser[section]) if section in parser else {}
