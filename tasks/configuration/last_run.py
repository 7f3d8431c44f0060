"""Report the settings of the last run that a command lacks: without them, stages would run again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.operations import run_history
from pipeline.web.urls import HIDDEN
from tasks.configuration import make_variables
from tasks.configuration.changed import changed, decisive_names
from tasks.luigi_adapter.command_line import given

SAME_FOLDER = {"settings.data", "settings.outputs_dir"}
"""Settings that choose the outputs folder: the last run in a folder had the same."""


def report_missing(outputs: Path) -> None:
    """Print on standard error the settings that the last run in an outputs folder had, and that are missing now."""
    last = run_history.last_settings(outputs / run_history.NAME)
    concerned = decisive_names() - SAME_FOLDER  # an earlier version may have had other settings
    missing = {
        name: value
        for name, value in last.items()
        if value
        and HIDDEN not in value
        and name in concerned
        and given(*name.split(".")) is None
        # A setting may be a path, which `make configure` makes absolute; other texts differ as paths, too.
        and Path(value).absolute() != Path(changed().get(name, "")).absolute()
    }
    if missing:
        had, kept = _words(missing, last)
        it = "it" if len(had) == 1 else "them"
        sys.stderr.write(
            f"The last run had {' '.join(had)}; repeat {it}, or keep {it} with `make configure {' '.join(kept)}`.\n"
        )


def _words(missing: Mapping[str, str], last: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the missing settings as people type them, and the words to type after ``make configure``."""
    folder = {name: value for name, value in last.items() if name == "settings.data"}
    demos: list[str] = []
    if make_variables.DEMO.items() <= last.items() and make_variables.DEMO.keys() & missing.keys():
        missing = {name: value for name, value in missing.items() if name not in make_variables.DEMO}
        demos, folder = ["DEMO=1"], {}
    variables, flags = make_variables.as_typed(missing)
    to_keep, _ = make_variables.as_typed({**folder, **missing})
    arguments = [f"ARGS={shlex.quote(' '.join(flags))}"] if flags else []
    return [*demos, *variables, *flags], [*demos, *to_keep, *arguments]
