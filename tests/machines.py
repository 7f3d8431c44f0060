"""Machines that share a remote: each has a folder of its own, and makes the same small stages."""

from __future__ import annotations

import contextlib
import uuid

import pytest

from pipeline.progress.monitor import SILENT
from pipeline.store import results, sharing
from pipeline.store.remote.shared import Remote
from pipeline.store.results import ForcedStages
from tests.small_stages import TEXT, chain

NAMES = ("First", "Second", "Third")


class Machine:
    """A machine, and what its last run warned of."""

    def __init__(self, folder, url, environment=None, *, writes=True):
        folder.mkdir()
        self.url = url
        self.warnings: list[str] = []
        self.environment = dict(environment or {})
        self._folder, self._writes = folder, writes

    def open(self):
        """Return the remote as a new process sees it."""
        memory = self._folder / "remotes.json"
        return Remote(self.url, writes=self._writes, warn=self.warnings.append, memory=memory)

    @contextlib.contextmanager
    def variables(self):
        """Set the environment of the machine."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    def run(self, names=NAMES, forced=()):
        """Make a chain of stages as a run does, fetch the last result, and return what became of each stage."""
        self.warnings.clear()
        run, remote = uuid.uuid4().hex[:12], self.open()
        self.stages = chain(self._folder / "results", *names, remote=remote)
        with self.variables():
            remote.begin(run, self.stages, SILENT)
            sharing.look_up(self.stages)
            to_force = ForcedStages(frozenset(forced), run, results.seals(self.stages))
            outcomes = {stage.name: results.make(stage, SILENT, to_force)[0] for stage in self.stages}
            last = self.stages[-1]
            if not sharing.fetch(last.path, remote, SILENT):
                outcomes[last.name] = results.make(last, SILENT, to_force)[0]
            remote.end()
        assert (last.path / TEXT).read_text().lower() == "".join(names).lower()
        return outcomes
