"""Variables of make, such as ``SEED=7``, and Luigi's flags for them; ``DEMO=1``, the flag ``--demo``."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import SettingError

TABLE = Path(__file__).with_suffix(".txt")
WITHOUT_PREFIX = {"core", "settings"}
"""Sections whose flags have no prefix."""

DEMO_FLAG = "--demo"
DEMO = {
    "settings.data": "demo",
    "DownloadCIFAR.archive": ".cache/digits.tar.gz",
    "ConvertToHDF5.title": "scikit-learn's digits",
}
"""The settings of the demo: scikit-learn's digits, in folders of their own."""


@functools.cache
def flags_of_variables() -> dict[str, tuple[str, ...]]:
    """Return the flags of each variable."""
    lines = [line.split() for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:1].isupper()]
    return {variable.partition("=")[0]: tuple(names.split(",")) for variable, names, *_ in lines}


def flag_of(setting: str) -> str:
    """Return the flag of a setting: ``--seed`` for ``settings.seed``, ``--TrainCNN-epochs`` for ``TrainCNN.epochs``."""
    section, _, name = setting.partition(".")
    prefix = "" if section in WITHOUT_PREFIX else f"{section}-"
    return f"--{prefix}{name}".replace("_", "-")


def as_typed(settings: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return settings as words for a shell: variables of make, and flags for those without a variable."""
    left = {flag_of(setting): value for setting, value in settings.items()}
    variables = []
    for variable, names in flags_of_variables().items():
        values = {left.get(name) for name in names}
        if len(values) == 1 and (value := values.pop()) is not None:
            variables.append(f"{variable}={shlex.quote(value)}")
            left = {name: other for name, other in left.items() if name not in names}
    return variables, [shlex.quote(f"{name}={value}") for name, value in left.items()]


def expand_demo(flags: Sequence[str]) -> list[str]:
    """Return flags with ``--demo`` replaced by its settings; raise `SettingError` if another flag names other data."""
    if DEMO_FLAG not in flags:
        return list(flags)
    others = [flag for flag in flags if flag != DEMO_FLAG]
    for own in map(flag_of, ("settings.data", "DownloadCIFAR.archive")):
        if own in (flag.partition("=")[0] for flag in others):
            raise SettingError(
                f"{own} and {DEMO_FLAG} came together; expected one of them, since the demo has data of its own. "
                f"Leave out {DEMO_FLAG} (DEMO=1 with make), or {own}."
            )
    return [*(f"{flag_of(setting)}={value}" for setting, value in DEMO.items()), *others]
