"""The run of this process: it begins when Luigi examines the first task, and ends with the process."""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import SettingError, did_you_mean
from pipeline.files.paths import readable
from pipeline.operations import run_history
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.terminal import highlighted
from pipeline.store import active_runs, folders, latest, results, sharing, unfinished
from pipeline.store.record import REMOTE_NAME
from pipeline.store.remote.shared import record_object
from pipeline.store.stage import Stage
from pipeline.web.urls import without_secrets
from tasks import shared_work
from tasks.configuration import config_files, last_run, make_variables
from tasks.configuration.changed import changed
from tasks.luigi_adapter import interrupts, luigid
from tasks.luigi_adapter.command_line import root_task
from tasks.luigi_adapter.console import warn_once
from tasks.luigi_adapter.errors import message_of
from tasks.settings import settings

if TYPE_CHECKING:
    from tasks.stages import StageTask


class Run:
    """Stages that are made together; registered while the run lasts, with two lines in the history."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.process = os.getpid()  # it registers the run and ends it; those forked from it only make results
        self.command = _command(sys.argv[1:])
        self.stages: list[Stage] = []  # in the order in which data flows; empty until the run begins
        self.roots: set[Path] = set()  # the results for which it was begun
        self.shown: dict[Path, StageTask] = {}  # files that the summary names, with their tasks
        self.told: dict[Path, StageTask] = {}  # files whose text the summary has, with their tasks
        self._root = ""
        self._places: dict[Path, int] = {}
        self._found: dict[Path, str] = {}
        self._compares_settings = True
        self._registration = contextlib.ExitStack()
        self._clock = time.perf_counter()

    def continue_here(self, arguments: Sequence[str], *, compares_settings: bool = True) -> None:
        """Let this process register the run and end it, also where it was forked from the one that created the run.

        With ``compares_settings`` it reports settings that the last run had and this one lacks.
        """
        self.process = os.getpid()
        self.command = _command(arguments)
        self._compares_settings = compares_settings

    def begin_with(self, *roots: Stage) -> None:
        """Begin the run with these stages and all upstream of them, unless it has begun.

        Raise `SettingError` where ``force`` names a stage that the run does not have.
        """
        if self.stages or os.getpid() != self.process:
            return
        root = root_task()
        stages, outputs = results.upstream(*roots), settings.active().outputs
        check_forced(stages, root or roots[0].name)
        if root:  # a notebook, which has no command line, handles signals by itself
            interrupts.end_cleanly()
        if self._compares_settings:
            last_run.report_missing(outputs)
        self.stages, self.roots, self._root = stages, {stage.path for stage in roots}, root or roots[0].name
        self._places = {stage.path: place for place, stage in enumerate(stages, start=1)}
        folders = dict.fromkeys([outputs, *(stage.folder for stage in stages)])
        self._registration.enter_context(active_runs.registered(folders, self.id, [stage.path for stage in stages]))
        _clear_leftovers(stages, outputs)
        first_line = {
            "run": self.id,
            "root": self._root,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "process": self.process,
            "host": socket.gethostname(),
            "settings": changed(),
        }
        run_history.append_line(outputs / run_history.NAME, first_line)
        # Before the remote is asked, since a signal may come then; the forced stages get their seals below.
        atexit.register(self._finish, outputs / run_history.NAME, self.forced_stages())
        self._ask_remote()
        self._found.update(results.seals(stage for stage in stages if stage.name in settings.active().forced()))

    def _ask_remote(self) -> None:
        """Look in the remote for the results that are not here; a run that has nothing to do asks nothing."""
        remote = self.stages[0].remote
        if remote is None:
            return
        missing = [stage for stage in self.stages if results.known_record(stage) is None]
        if not missing and not self._has_work():
            return
        about = shared_work.described(self._root, self._archive()) if shared_work.is_shared() else {}
        with ConsoleMonitor(remote.url) as monitor:
            remote.begin(self.id, self.stages, monitor, about)
            found = sharing.look_up(missing)
            if missing and not remote.has_failed:
                monitor.log(f"{remote.url}: {found} of {len(missing)} missing results are there")
            if about and luigid.connected:
                for other in shared_work.other_runs(remote, luigid.connected[0].others()):
                    self._compare(other, about["settings"], monitor)

    def _has_work(self) -> bool:
        """Return whether the run makes something, or fetches files that people open."""
        records = results.current_records(self.stages)
        to_fetch = (stage for stage in self.stages if self.is_wanted(stage) and (stage.path / REMOTE_NAME).is_file())
        return bool(settings.active().forced()) or None in records.values() or any(to_fetch)

    def is_wanted(self, stage: Stage) -> bool:
        """Return whether people open the files of a result: if only the remote has them, they are fetched."""
        return stage.wanted or stage.path in self.roots

    def _compare(self, other: shared_work.OtherRun, own: Mapping[str, str], monitor: ConsoleMonitor) -> None:
        """Tell whether another run of the same task shares its stages with this one, and if not, why."""
        names = {record_object(stage.name, stage.key) for stage in self.stages}
        if other.task != self._root:
            return
        if other.needs == names:
            monitor.log(f"{other.host} shares this run")
            return
        alone = sorted({name.split("/")[1] for name in names - other.needs})
        why = "; ".join(shared_work.differences(other, own)) or "the code or a library is another"
        warn_once(f"{other.host} has a run of {other.task} too, but with other {', '.join(alone)}: {why}.")

    def look_again(self) -> None:
        """Find the results that other machines have made since this run began."""
        if self.stages and shared_work.is_shared():
            sharing.look_up(self.stages)

    def _archive(self) -> str:
        """Return the digest of the archive that the run reads, where it is known."""
        return next((str(stage.parameters.get("sha256", "")) for stage in self.stages if not stage.inputs), "")

    def forced_stages(self) -> results.ForcedStages:
        """Return the stages that ``--force`` names now: a notebook may begin several runs of Luigi in this one."""
        return results.ForcedStages(settings.active().forced(), self.id, self._found)

    def place(self, stage: Stage) -> str:
        """Return ``"stage 2 of 7"``, or an empty text for a stage that the run does not have."""
        place = self._places.get(stage.path)
        return f"stage {place} of {len(self.stages)}" if place else ""

    def stages_from(self, stage: Stage) -> int:
        """Count the stages of the run from this one on."""
        place = self._places.get(stage.path)
        return len(self.stages) - place + 1 if place else 0

    def _finish(self, history: Path, forced: results.ForcedStages) -> None:
        """Write the last line into the history, end the registration, and print a summary.

        The run has failed if a result of a shown file may not be published, even if every result is there.
        """
        if os.getpid() != self.process:
            return
        if self.stages and (remote := self.stages[0].remote) and not interrupts.is_ending():
            remote.end()
        summary = run_history.summarise(self.stages, forced, time.perf_counter() - self._clock)
        may_be_published = all(task.may_be_published() for task in self.shown.values())
        if not may_be_published:
            summary["exit"] = "failed"
        try:
            run_history.append_line(history, {"run": self.id, **summary})
        except OSError as error:
            sys.stderr.write(f"{message_of(error)}\n")
        finally:
            self._registration.close()
        lines = run_history.summary_lines(summary)
        made = {stage for stage, outcome in summary["stages"].items() if outcome != "not made"}
        lines += [line for path, task in self.told.items() if task.stage_name in made for line in _told(path, task)]
        if may_be_published:
            lines += [f"  report: {path}" for path, task in self.shown.items() if task.stage_name in made]
        print(highlighted("\n".join(lines)), flush=True)  # noqa: T201


def check_forced(stages: Sequence[Stage], run: str) -> None:
    """Raise `SettingError` where ``force`` names a stage that is not among the stages of a run."""
    names = list(dict.fromkeys(stage.name for stage in stages))
    for name in sorted(settings.active().forced() - set(names)):
        raise SettingError(
            f"force names {name!r}, which is no stage of {run}; expected any of {', '.join(names)}."
            f"{did_you_mean(name, names)}"
        )


def _told(path: Path, task: StageTask) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:  # another process has removed the result meanwhile
        return []
    return ["", *lines, "", f"  more: {settings.active().latest / task.stage_name}"]


def _clear_leftovers(stages: Sequence[Stage], outputs: Path) -> None:
    """Remove the unfinished files of killed runs."""
    for folder in {stage.path.parent for stage in stages}:
        folders.clear_leftovers(folder)
    for folder in {stage.folder for stage in stages}:
        unfinished.clear_leftovers(folder)
    latest.clear_leftovers(outputs)


def _command(arguments: Sequence[str]) -> str:
    """Return a command line without secrets."""
    secret = tuple(map(make_variables.flag_of, config_files.secret_settings()))
    shown = ["luigi"]
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        is_value = shown[-1] in secret
        shown.append("..." if is_value else f"{flag}=..." if flag in secret and equals else argument)
    return without_secrets(readable(shlex.join(shown)))


RUN = Run()
luigid.before_the_end.append(RUN.look_again)
