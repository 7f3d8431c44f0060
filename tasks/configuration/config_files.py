"""Check luigi.cfg and the files that override it: every section and key must have a reader.

Luigi ignores an unknown section and only warns of an unknown key, so that a misspelt setting would keep its default.
"""

from __future__ import annotations

import configparser
import os
from collections import defaultdict
from pathlib import Path

import luigi.retcodes  # noqa: F401, it declares the section [retcode]
from luigi.task_register import Register

from pipeline.errors import SettingError, did_you_mean
from pipeline.web.urls import without_secrets
from tasks.luigi_adapter.configuration import FILES, LOCAL, PATH_VARIABLE, is_base_class, is_ours

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = ".venv"

FREE_SECTIONS = {"logging", "resources", "task_history"}
"""Luigi's sections that accept any key."""
FREE_KEYS_OF_CORE = {"autoload_range", "no_configure_logging"} | {
    f"rpc_{name}" for name in ("connect_timeout", "log_retries", "retry_attempts", "retry_wait")
}
"""Luigi's keys of the section [core] that are not parameters."""


def require_settings_file() -> None:
    """Raise `SettingError` if the current folder has no settings, or is a checkout with code of its own."""
    here = Path.cwd()
    ours = ("tasks/__init__.py", "pipeline/store/__init__.py")
    if all((here / name).is_file() for name in ours) and not here.samefile(CHECKOUT):
        raise SettingError(
            f"this is the checkout {here}, but the code that would run is that of {CHECKOUT}: the environment is "
            f"the other checkout's. Type `rm -rf {VENV} && make {VENV}/base` here, then `. {VENV}/bin/activate`."
        )
    if PATH_VARIABLE not in os.environ and not any(map(os.path.exists, FILES)):
        raise SettingError(
            f"there is no luigi.cfg in {Path.cwd()}; expected the settings there. Type `cd {CHECKOUT}`, or set "
            f"{PATH_VARIABLE}={CHECKOUT / 'luigi.cfg'} to have data and outputs here."
        )


def check_files() -> None:
    """Raise `SettingError` if a file cannot be read, or has a section or a key that nothing reads."""
    named = os.environ.get(PATH_VARIABLE)
    if named is not None and not Path(named).is_file():
        raise SettingError(f"{PATH_VARIABLE} is {named!r}, where there is no file; expected one like luigi.cfg.")
    known = _known()
    files = read_files()
    for path, file in files.items():
        for section in set(file.sections()) - FREE_SECTIONS - {configparser.DEFAULTSECT}:
            if section not in known:
                raise SettingError(
                    f"{path} has a section [{section}], which nothing reads; expected one of "
                    f"{', '.join(_ours(known))}, or one of Luigi's.{did_you_mean(section, known)}"
                )
            for key, value in file.items(section):
                if key.replace("-", "_") not in known[section]:
                    raise _unknown_key(path, section, key, value, known)
                _check_hyphens(path, section, key, files)


def read_files() -> dict[str, configparser.RawConfigParser]:
    """Return the files that exist, each overriding those before it; raise `SettingError` if one cannot be read."""
    files = {}
    for path in (*FILES, LOCAL, os.environ.get(PATH_VARIABLE)):
        if path and Path(path).exists():
            file = configparser.RawConfigParser(default_section="")  # keys of [DEFAULT] are variables of all sections
            file.optionxform = str  # type: ignore[assignment, method-assign]
            try:
                file.read_string(Path(path).read_text(encoding="utf-8"), source=path)
            except OSError as error:
                raise SettingError(
                    f"{path} cannot be read ({error.strerror}); expected a file like luigi.cfg."
                ) from None
            files[path] = file
    return files


def secret_settings() -> set[str]:
    """Return the settings, as ``SECTION.NAME``, whose values are never shown: the ``secret`` ones of each section."""
    sections = map(Register.get_task_cls, Register.task_names())
    return {f"{section.task_family}.{name}" for section in sections for name in getattr(section, "secret", ())}


def _known() -> dict[str, set[str]]:
    """Return the keys of each section that tasks and Luigi declare, with underscores."""
    known = defaultdict(set, {name: set[str]() for name in Register.task_names() if not is_base_class(name)})
    known["core"] |= FREE_KEYS_OF_CORE
    for section, _, name, parameter in Register.get_all_params():
        if not is_base_class(section):
            known[section].add(name)
        if former := parameter._config_path:
            known[former["section"]].add(former["name"].replace("-", "_"))
    return dict(known)


def _check_hyphens(path: str, section: str, key: str, files: dict[str, configparser.RawConfigParser]) -> None:
    """Refuse a key with a hyphen where a file has it with an underscore: Luigi would read only that one."""
    proper = key.replace("-", "_")
    other = next((name for name, file in files.items() if file.has_option(section, proper)), None)
    if proper != key and other:
        raise SettingError(f"{path}: [{section}] {key} does not count where {other} has {proper}; write {proper} too.")


def _unknown_key(path: str, section: str, key: str, value: str, known: dict[str, set[str]]) -> SettingError:
    keys = sorted(known[section])
    shown = f" = {without_secrets(value)}" if section in _ours(known) else ""  # a key of Luigi's may be a password
    others = [name for name, declared in known.items() if key in declared and name in _ours(known)]
    place = did_you_mean(key, keys) or (f" It belongs into [{others[0]}]." if others else "")
    return SettingError(
        f"{path}: [{section}] has the key {key}{shown}, which nothing reads; "
        f"expected {', '.join(keys) if keys else 'no key at all'}.{place}"
    )


def _ours(known: dict[str, set[str]]) -> list[str]:
    """Return the pipeline's sections that have keys."""
    return [name for name in Register.task_names() if known.get(name) and is_ours(name)]
