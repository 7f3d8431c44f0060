"""Keep settings in local.cfg, and list all settings that differ from their defaults."""

from __future__ import annotations

import configparser
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import LuigiConfigParser, get_config
from luigi.task_register import Register

from pipeline.errors import SettingError, StoreError
from pipeline.files.whole_file import write_text
from pipeline.web.urls import without_secrets
from tasks.commands import current
from tasks.configuration import config_files
from tasks.luigi_adapter.command_line import given
from tasks.luigi_adapter.configuration import DEFAULTS, LOCAL, is_ours, set_defaults

HEAD = (
    "# Settings of your own, which override luigi.cfg. `make configure SEED=7` keeps one, `make configure` lists all.\n"
)
OPEN_SECTIONS = {"core", "execution_summary", "retcode", "scheduler", "worker"}
"""Luigi's sections without passwords."""


def given_settings() -> dict[tuple[str, str], str]:
    """Return the settings on the command line, by section and key; the path of an archive is absolute."""
    found = {(section, name): given(section, name) for section, _, name, _ in Register.get_all_params()}
    values = {place: str(value) for place, value in found.items() if value not in (None, False)}
    if archive := values.get(("DownloadCIFAR", "archive")):
        values["DownloadCIFAR", "archive"] = str(Path(archive).absolute())
    return values


def keep_settings(values: dict[tuple[str, str], str]) -> None:
    """Write settings into local.cfg, whole or not at all: an empty value removes one, and all others stay.

    Raise `SettingError` if a run could not begin with one of them, `StoreError` if the file cannot be written.
    """
    if force := values.get(("settings", "force")):
        raise SettingError(
            f"force is {force!r}, with which every later run would compute again; expected settings to keep. Give it "
            f"with one command: FORCE={force}."
        )
    path = Path(LOCAL).resolve()
    text = path.read_text(encoding="utf-8").rstrip("\n") + "\n" if path.exists() else HEAD
    for (section, key), value in values.items():
        text = _with(text, section, key, value)
    _check_kept(text, values)
    with _in_force(text), CmdlineParser.global_instance(["Pipeline"], allow_override=True):
        current.check_settings()
    write_text(path, text, StoreError)


def settings_table() -> list[str]:
    """Return a line for each setting in a file that differs from its default, and name the file."""
    config_files.require_settings_file()
    config_files.check_files()
    files = config_files.read_files()
    rows = [("SETTING", "VALUE", "FROM")]
    for section, key in dict.fromkeys((name, key) for file in files.values() for name in file for key in file[name]):
        path = next(path for path in reversed(files) if files[path].has_option(section, key))
        value = files[path].get(section, key)
        if not _is_default(section, key.replace("-", "_"), value):
            rows.append((f"{section}.{key}", _shown(section, key, value), path))
    if len(rows) == 1:
        return ["Every setting has its default."]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _is_default(section: str, key: str, value: str) -> bool:
    if key in DEFAULTS.get(section, {}):
        return value == DEFAULTS[section][key]
    for name, _, own_key, parameter in Register.get_all_params():
        if (name, own_key) == (section, key):
            default = parameter._default
            if isinstance(default, str):
                return value.split() == default.split()
            with contextlib.suppress(ValueError):
                return bool(parameter.normalize(parameter.parse(value)) == default)
    return False


def _shown(section: str, key: str, value: str) -> str:
    is_open = section in OPEN_SECTIONS or (section in Register.task_names() and is_ours(section))
    if not is_open or f"{section}.{key}" in config_files.secret_settings():
        return "..."
    return without_secrets(" ".join(value.split()).replace("%%", "%"))


def _with(text: str, section: str, key: str, value: str) -> str:
    """Return the text of a file with a key set, or removed if the value is empty."""
    if not value.isprintable() or value != value.strip() or "${" in value:
        raise SettingError(
            f"{section}.{key} is {value!r}; expected a line of printable UTF-8 without blanks at its ends and without "
            f"${{, which {LOCAL} would take for a variable. Give it with each command instead."
        )
    line = f"{key} = {value.replace('%', '%%')}\n" if value else ""
    if not re.search(rf"^\[{section}\]", text, re.M):
        text += f"\n[{section}]\n"
    before, lines, after = re.split(rf"^(\[{section}\].*\n(?:(?!\[).*\n)*)", text, maxsplit=1, flags=re.M)
    key_and_indented_lines = rf"^{key.replace('_', '[-_]')}[ \t]*[=:].*\n(?:[ \t]+\S.*\n)*"
    changed, is_there = re.subn(key_and_indented_lines, lambda _: line, lines, count=1, flags=re.M)
    if not is_there:
        kept = lines.rstrip("\n") + "\n"
        changed = kept + line + lines[len(kept) :]
    without_empty_sections = re.sub(r"^\[.*\]\n+(?=\[|\Z)", "", before + changed + after, flags=re.M)
    return without_empty_sections.rstrip("\n") + "\n"


def _check_kept(text: str, values: dict[tuple[str, str], str]) -> None:
    """Raise `SettingError` where a parser would read another value, as of a key that is indented."""
    file = configparser.RawConfigParser()
    file.optionxform = lambda key: key.replace("-", "_")  # type: ignore[assignment, method-assign]
    is_there_twice = False
    try:
        file.read_string(text, source=LOCAL)
    except configparser.DuplicateOptionError:
        is_there_twice = True
    for (section, key), value in values.items():
        kept = file.get(section, key, fallback="")
        if is_there_twice or kept != value.replace("%", "%%"):
            raise SettingError(
                f"{LOCAL} would have {kept!r} for {section}.{key}; expected {value!r}. Write `{key} = ...` at the "
                "beginning of its line, or remove it there, and type the same command again."
            )


@contextlib.contextmanager
def _in_force(text: str) -> Iterator[None]:
    """Let Luigi read a text as local.cfg, without the file that the environment names, which would override it."""
    before = get_config()
    paths = LuigiConfigParser._config_paths
    tried = LuigiConfigParser()
    tried.read(paths[: paths.index(LOCAL)])
    tried.read_string(text, source=LOCAL)
    LuigiConfigParser._instance = tried  # type: ignore[assignment]
    try:
        set_defaults()
        yield
    finally:
        LuigiConfigParser._instance = before
