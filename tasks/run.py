"""The run that this process is: what it looks at, what it forces, and the line that it leaves in the history."""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from luigi.cmdline_parser import CmdlineParser

from pipeline.errors import SettingError, did_you_mean
from pipeline.files.system_text import readable
from pipeline.operations import run_history
from pipeline.progress.terminal import highlighted
from pipeline.store import latest, results, runs, unfinished
from pipeline.store.stage import Stage
from pipeline.web.urls import without_secrets
from tasks.configuration import config_files, last_run, make_variables
from tasks.configuration.changed import changed
from tasks.luigi_adapter import interrupts
from tasks.luigi_adapter.errors import message_of
from tasks.settings import settings

REPORT_PAGE = "report.html"
"""The file of the report that the outputs folder has a copy of."""


class Run:
    """One call of Luigi, from the first task it looks at to the end of the process."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.command = _command(sys.argv[1:])
        self.tells_of_the_last = True
        self._process = os.getpid()
        self._stages: list[Stage] = []
        self._found: dict[Path, str] = {}
        self._registration = contextlib.ExitStack()
        self._said: set[str] = set()
        self._conditions: list[Callable[[], bool]] = []
        self._clock = time.perf_counter()

    def saw(self, *roots: Stage) -> None:
        """Take note that Luigi looks at stages; the first ones are what the run is about.

        Raises
        ------
        SettingError
            ``--force`` names a stage that the run does not have.
        """
        if not self._stages and os.getpid() == self._process:
            parser = CmdlineParser.get_instance()
            self._asked_for = parser.known_args.root_task if parser else None
            self._stages = results.upstream(*roots)
            check_forced(self._stages, self._asked_for or roots[0].name)
            self._found = results.seals(found for found in self._stages if found.name in settings.active().forced())
            self._forced_stages = self.forced_stages()
            self._outputs = settings.active().outputs
            self._history = self._outputs / run_history.NAME
            if parser:  # a notebook keeps its own ways
                interrupts.end_cleanly()
            folders = dict.fromkeys([self._outputs, *(found.folder for found in self._stages)])
            self._registration.enter_context(runs.registered(folders, self.id, [found.path for found in self._stages]))
            self._clear_leftovers()
            changes = changed()
            if self.tells_of_the_last:
                last_run.tell(self._outputs, changes)
            run_history.append_line(self._history, {**self._beginning(roots[0]), "settings": changes})
            atexit.register(self._finish)

    def forced_stages(self) -> results.ForcedStages:
        """Return the stages that ``--force`` names."""
        return results.ForcedStages(settings.active().forced(), self.id, self._found)

    def place(self, stage: Stage) -> str:
        """Say which stage of the run this is, in the order in which data flows; nothing of one that is not in it."""
        followers = self.followers(stage)
        return f"stage {len(self._stages) - followers + 1} of {len(self._stages)}" if followers else ""

    def followers(self, stage: Stage) -> int:
        """Count the stages of the run from this one on."""
        paths = [found.path for found in self._stages]
        return len(paths) - paths.index(stage.path) if stage.path in paths else 0

    def goes_on_here(self, arguments: Sequence[str]) -> None:
        """Let this process, forked from the one that imported this, be the run's, with Luigi's arguments."""
        self._process = os.getpid()
        self.command = _command(arguments)

    def say_once(self, line: str) -> None:
        """Print a line, unless it has been printed before."""
        if line not in self._said:
            self._said.add(line)
            print(line, flush=True)  # noqa: T201

    def must_end_with(self, condition: Callable[[], bool]) -> None:
        """Count the run as failed unless a condition holds at its end, although every result may be there."""
        self._conditions.append(condition)

    def _clear_leftovers(self) -> None:
        """Remove what runs that were killed left half-made, of whatever settings."""
        for folder in {stage.path.parent for stage in self._stages}:
            results.clear_leftovers(folder)
        for folder in {stage.folder for stage in self._stages}:
            unfinished.clear_leftovers(folder)
        latest.clear_leftovers(self._outputs)

    def _beginning(self, root: Stage) -> dict[str, object]:
        return {
            "run": self.id,
            "root": self._asked_for or root.name,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "process": self._process,
            "host": socket.gethostname(),
        }

    def _finish(self) -> None:
        """Leave the run's last line in the history, and a summary for whoever started it."""
        if not self._stages or os.getpid() != self._process:
            return
        summary = run_history.summarise(self._stages, self._forced_stages, time.perf_counter() - self._clock)
        is_published = all(condition() for condition in self._conditions)
        if not is_published:
            summary["exit"] = "failed"
        try:
            run_history.append_line(self._history, {"run": self.id, **summary})
        except OSError as error:  # what became of the stages is to be told all the same
            sys.stderr.write(f"{message_of(error)}\n")
        self._registration.close()
        lines = run_history.summary_lines(summary)
        if is_published and summary["stages"].get("Report", "not made") != "not made":
            lines.append(f"  report: {self._outputs / REPORT_PAGE}")
        print(highlighted("\n".join(lines)), flush=True)  # noqa: T201


def _command(arguments: Sequence[str]) -> str:
    """Return a command as it may be shown."""
    secret = tuple(map(make_variables.flag, config_files.secrets()))
    shown = ["luigi"]
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        is_value = shown[-1] in secret
        shown.append("..." if is_value else f"{flag}=..." if flag in secret and equals else argument)
    return without_secrets(readable(shlex.join(shown)))


def check_forced(stages: Iterable[Stage], run: str) -> None:
    """Raise `SettingError` where ``--force`` names a stage that a run does not have."""
    names = list(dict.fromkeys(stage.name for stage in stages))
    for name in sorted(settings.active().forced() - set(names)):
        raise SettingError(
            f"force names {name!r}, which is no stage of {run}; expected any of {', '.join(names)}."
            f"{did_you_mean(name, names)}"
        )


RUN = Run()
