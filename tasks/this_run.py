"""The run of this process: it begins when Luigi examines the first task, and ends with the process."""

from __future__ import annotations

import atexit
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from luigi.cmdline_parser import CmdlineParser

from pipeline.files.paths import readable
from pipeline.operations import run_history
from pipeline.operations.run import Run, check_forced
from pipeline.progress.terminal import highlighted
from pipeline.store import results
from pipeline.store.stage import Stage
from pipeline.web.urls import without_secrets
from tasks.configuration import config_files, last_run, make_variables
from tasks.configuration.changed import changed
from tasks.luigi_adapter import interrupts
from tasks.luigi_adapter.errors import message_of
from tasks.settings import settings


class LuigiRun(Run):
    """A run that a command line, a timer or a notebook starts.

    Attributes
    ----------
    command : str
        The command line, without secrets.
    compares_settings : bool
        Whether to report settings that the last run had and this one lacks.
    shown : dict of Path to str
        Files that the summary names, and the stage that must have been made for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.command = _command(sys.argv[1:])
        self.compares_settings = True
        self.shown: dict[Path, str] = {}

    def begin_with(self, *roots: Stage) -> None:
        """Begin the run with these stages and all upstream of them, unless it has begun.

        Raises
        ------
        SettingError
            ``--force`` names a stage that the run does not have.
        """
        if self.stages or os.getpid() != self.process:
            return
        parser = CmdlineParser.get_instance()
        root = (parser and parser.known_args.root_task) or roots[0].name
        stages, forced, outputs = results.upstream(*roots), settings.active().forced(), settings.active().outputs
        check_forced(forced, stages, root)
        if parser:  # a notebook handles signals by itself
            interrupts.end_cleanly()
        if self.compares_settings:
            last_run.report_missing(outputs, changed())
        self.begin(stages, root=root, forced=forced, outputs=outputs, settings=changed())
        atexit.register(self._finish)

    def forced_stages(self) -> results.ForcedStages:
        """Return the stages that ``--force`` names now: a notebook may begin several runs of Luigi in this one."""
        return results.ForcedStages(settings.active().forced(), self.id, self.found)

    def continue_here(self, arguments: Sequence[str]) -> None:
        """Let this process, which was forked from the one that created the run, register the run and end it."""
        self.process = os.getpid()
        self.command = _command(arguments)

    def _finish(self) -> None:
        """End the run and print its summary."""
        if os.getpid() != self.process:
            return
        summary, error = self.end()
        if error:
            sys.stderr.write(f"{message_of(error)}\n")
        lines = run_history.summary_lines(summary)
        if self.conditions_hold:
            made = {stage for stage, outcome in summary["stages"].items() if outcome != "not made"}
            lines += [f"  report: {path}" for path, stage in self.shown.items() if stage in made]
        print(highlighted("\n".join(lines)), flush=True)  # noqa: T201


def _command(arguments: Sequence[str]) -> str:
    """Return a command line without secrets."""
    secret = tuple(map(make_variables.flag_of, config_files.secret_settings()))
    shown = ["luigi"]
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        is_value = shown[-1] in secret
        shown.append("..." if is_value else f"{flag}=..." if flag in secret and equals else argument)
    return without_secrets(readable(shlex.join(shown)))


RUN = LuigiRun()
