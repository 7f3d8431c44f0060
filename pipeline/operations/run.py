"""Register a run of stages while it lasts, and write its two lines into the history."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import SettingError, did_you_mean
from pipeline.operations import run_history
from pipeline.store import active_runs, latest, results, unfinished
from pipeline.store.stage import Stage


class Run:
    """Stages that are made together, from the first look at them to the end of the process.

    Attributes
    ----------
    id : str
        12 hexadecimal digits.
    process : int
        The process that registers the run and writes its history; those forked from it only make results.
    stages : list of Stage
        In the order in which data flows; empty until the run begins.
    found : dict of Path to str
        The seals of the forced stages' results from before the run.
    conditions : list of callables
        The run fails if one of them returns False at its end, even if every result is there.
    conditions_hold : bool
        Whether all conditions returned True at the end.
    """

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.process = os.getpid()
        self.stages: list[Stage] = []
        self.conditions: list[Callable[[], bool]] = []
        self.conditions_hold = True
        self._forced: frozenset[str] = frozenset()
        self.found: dict[Path, str] = {}
        self._registration = contextlib.ExitStack()
        self._clock = time.perf_counter()

    def begin(
        self, stages: Sequence[Stage], *, root: str, forced: frozenset[str], outputs: Path, settings: dict[str, str]
    ) -> None:
        """Register the run, remove the unfinished files of killed runs, and write a first line into the history.

        Parameters
        ----------
        stages : sequence of Stage
            In the order in which data flows.
        root : str
            The task that was asked for.
        forced : frozenset of str
            Names of stages to run again although their results are current.
        outputs : Path
            The folder of the history.
        settings : dict of str to str
            The settings that differ from the defaults.
        """
        self.stages, self._forced, self._outputs = list(stages), forced, outputs
        self.found = results.seals(stage for stage in stages if stage.name in forced)
        folders = dict.fromkeys([outputs, *(stage.folder for stage in stages)])
        self._registration.enter_context(active_runs.registered(folders, self.id, [stage.path for stage in stages]))
        self._clear_leftovers()
        first_line = {
            "run": self.id,
            "root": root,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "process": self.process,
            "host": socket.gethostname(),
            "settings": settings,
        }
        run_history.append_line(self._history, first_line)

    def end(self) -> tuple[dict[str, Any], OSError | None]:
        """Write the last line into the history, and end the registration.

        Returns
        -------
        summary : dict
            As `run_history.summarise` returns it; ``exit`` is ``"failed"`` also where a condition does not hold.
        error : OSError, optional
            The history could not be written.
        """
        forced = results.ForcedStages(self._forced, self.id, self.found)
        summary = run_history.summarise(self.stages, forced, time.perf_counter() - self._clock)
        self.conditions_hold = all(condition() for condition in self.conditions)
        if not self.conditions_hold:
            summary["exit"] = "failed"
        try:
            run_history.append_line(self._history, {"run": self.id, **summary})
        except OSError as error:
            return summary, error
        finally:
            self._registration.close()
        return summary, None

    def place(self, stage: Stage) -> str:
        """Return ``"stage 2 of 7"``, or an empty text for a stage that the run does not have."""
        rest = self.stages_from(stage)
        return f"stage {len(self.stages) - rest + 1} of {len(self.stages)}" if rest else ""

    def stages_from(self, stage: Stage) -> int:
        """Count the stages of the run from this one on."""
        paths = [found.path for found in self.stages]
        return len(paths) - paths.index(stage.path) if stage.path in paths else 0

    @property
    def _history(self) -> Path:
        return self._outputs / run_history.NAME

    def _clear_leftovers(self) -> None:
        for folder in {stage.path.parent for stage in self.stages}:
            results.clear_leftovers(folder)
        for folder in {stage.folder for stage in self.stages}:
            unfinished.clear_leftovers(folder)
        latest.clear_leftovers(self._outputs)


def check_forced(forced: frozenset[str], stages: Sequence[Stage], run: str) -> None:
    """Raise `SettingError` where a forced stage is not among the stages of a run."""
    names = list(dict.fromkeys(stage.name for stage in stages))
    for name in sorted(forced - set(names)):
        raise SettingError(
            f"force names {name!r}, which is no stage of {run}; expected any of {', '.join(names)}."
            f"{did_you_mean(name, names)}"
        )
