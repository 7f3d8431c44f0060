"""Expand the flag ``--demo``: scikit-learn's digits, in folders of their own."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import SettingError
from tasks.configuration import make_variables

FLAG = "--demo"
SETTINGS = {
    "settings.data": "demo",
    "DownloadCIFAR.archive": ".cache/digits.tar.gz",
    "ConvertToHDF5.title": "scikit-learn's digits",
}


def expand_demo(flags: Sequence[str]) -> list[str]:
    """Return flags with ``--demo`` replaced by the demo's settings.

    Raises
    ------
    SettingError
        Another flag names other data.
    """
    if FLAG not in flags:
        return list(flags)
    others = [flag for flag in flags if flag != FLAG]
    for setting in ("settings.data", "DownloadCIFAR.archive"):
        own = make_variables.flag_of(setting)
        if own in (flag.partition("=")[0] for flag in others):
            raise SettingError(
                f"{own} and {FLAG} came together; expected one of them, since the demo has data of its own. "
                f"Leave out {FLAG} (DEMO=1 with make), or {own}."
            )
    return [*(f"{make_variables.flag_of(setting)}={value}" for setting, value in SETTINGS.items()), *others]
