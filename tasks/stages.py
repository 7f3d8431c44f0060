"""The base class of the stages' tasks: everything but parameters and requirements."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import luigi
from luigi.task_register import Register

from pipeline.errors import PipelineError, StoreError
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.monitor import Monitor
from pipeline.store import results, sharing
from pipeline.store.latest import copy_out, point_latest
from pipeline.store.stage import Stage
from tasks import shared_work
from tasks.luigi_adapter import luigid
from tasks.luigi_adapter.console import TaskMonitor
from tasks.luigi_adapter.errors import AGAIN, end
from tasks.remote import remote
from tasks.settings import check_sections, settings
from tasks.this_run import RUN


class StageTask(luigi.Task):
    """A Luigi task around one stage, which a subclass names.

    A task is complete when the stage's result is current. Its identity includes the stage's key, and the run, so that
    each of several runs of one scheduler makes its own results; the lock of a result lets only one of them compute it.
    Where machines share their work, it includes their remote in place of the run.
    """

    function: ClassVar[str]  # this and the next five are as in `pipeline.store.stage.Stage`
    imports: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()
    length_parameter: ClassVar[str | None] = None
    code_matters: ClassVar[bool] = True
    may_fail: ClassVar[bool] = False
    shown: ClassVar[tuple[str, ...]] = ()  # files of the result to copy into the outputs folder, for people to open
    identifying: ClassVar[tuple[str, ...]] = ()  # parameters that name one of several stages
    without_effect: ClassVar[tuple[str, ...]] = ()  # parameters that change no result
    wanted: ClassVar[bool] = False  # as in `pipeline.store.stage.Stage`
    runs_alone: ClassVar[bool] = False  # no other task requires it: a run of another one does not read its settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.check_settings(self)
        self.task_id = "_".join([self.stage_name, self.stage.key, shared_work.group() or RUN.id])

    @classmethod
    @functools.cache  # Luigi looks at all attributes of the class again for each task
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        params: list[tuple[str, luigi.Parameter[Any]]] = super().get_params()
        return params

    @classmethod
    def configured(cls) -> Any:
        """Return the settings of the stage in files and flags, as attributes, without creating the task."""
        declared = [(name, parameter) for name, parameter in cls.get_params() if name not in cls.identifying]
        return SimpleNamespace(**dict(cls.get_param_values(declared, [], {})))

    @classmethod
    def check_settings(cls, given: Any) -> None:
        """Raise `SettingError` where a setting of the stage, an attribute of ``given``, has an impossible value."""

    @property
    def stage_name(self) -> str:
        """The stage's name in folders, records and messages."""
        return str(self.task_family)

    @property
    def priority(self) -> int:  # type: ignore[override]
        """Priority for Luigi: of the tasks that are ready, the first in the order of the run's stages."""
        return RUN.stages_from(self.stage)

    @property
    def folder(self) -> Path:
        """The folder of the stage's results."""
        return settings.active().outputs

    def requires(self) -> dict[str, StageTask]:
        """Return the tasks whose results the stage reads, by the names of the function's arguments."""
        return {}

    def inputs(self) -> dict[str, Stage]:
        """Return the stages whose results the stage reads, by the names of the function's arguments."""
        return {name: task.stage for name, task in self.requires().items()}

    def may_be_published(self) -> bool:
        """Return whether ``latest`` may lead to the result."""
        return True

    def companions(self) -> list[StageTask]:
        """Return the stages that the pipeline makes along with this one, although this one does not read them."""
        return []

    def decides(self) -> dict[str, Any]:
        """Return the values that can change the result, by the names of the function's arguments."""
        return {}

    def options(self) -> dict[str, Any]:
        """Return the values that cannot change the result, by the names of the function's arguments."""
        return {}

    def reserved(self, monitor: Monitor) -> AbstractContextManager[None]:
        """Return a context to compute in, which reserves what only one process can use at a time."""
        return contextlib.nullcontext()

    def stage_function(self) -> str:
        """Return the function to call, as ``"module:function"``."""
        return self.function

    @functools.cached_property
    def stage(self) -> Stage:
        """The stage, with its key."""
        return Stage(
            name=self.stage_name,
            folder=self.folder,
            function=self.stage_function(),
            parameters=self.decides(),
            inputs=self.inputs(),
            options=self.options(),
            imports=self.imports,
            libraries=self.libraries,
            length_parameter=self.length_parameter,
            code_matters=self.code_matters,
            may_fail=self.may_fail,
            versions_matter=settings.active().versions_in_key,
            code_cache=settings.active().cache("code.json"),
            reserved=self.reserved,
            remote=remote(),
            wanted=self.wanted,
        )

    def output(self) -> luigi.LocalTarget:
        """Return the folder of the result."""
        return luigi.LocalTarget(str(self.stage.path))

    def complete(self) -> bool:
        """Return whether the result is current; if so, let ``latest`` lead to it and to all results upstream."""
        try:
            RUN.begin_with(self.stage)
            if not self.may_be_published() or results.current(self.stage, RUN.forced_stages()) is None:
                return False
            if not self._has_wanted_files():
                return False
            self._show(results.upstream(self.stage))
        except (PipelineError, OSError) as error:
            end(error)  # Luigi would continue after an error here, and print a traceback
        return True

    def run(self) -> None:
        """Make the result."""
        _share_out_cores(settings.active().thread_count())
        if shared_work.is_shared():
            sharing.look_up(results.upstream(self.stage))  # other machines may have made them since the run began
        for stage in self.made():
            with TaskMonitor(self, self.label(stage), RUN.place(stage)) as monitor:
                outcome, record = results.make(stage, monitor, RUN.forced_stages())
                if RUN.is_wanted(stage) and not sharing.fetch(stage.path, stage.remote, monitor):
                    outcome, record = results.make(stage, monitor, RUN.forced_stages())
                ended = f"failed: {record.failure}" if record.failure else f"{outcome}, {record.seconds:.1f} s"
                monitor.log(f"{monitor.title}: {ended}")
        if gone := results.first_missing(self.stage):
            raise StoreError(
                f"the result of {gone.name}, {gone.path}, was removed or damaged while the run was under way. {AGAIN}"
            )
        self._show([self.stage])

    def _has_wanted_files(self) -> bool:
        """Fetch the files that people open, of this stage and all upstream; return whether all are here."""
        if self.stage.remote is None:
            return True
        with ConsoleMonitor(self.stage_name) as monitor:
            wanted = filter(RUN.is_wanted, results.upstream(self.stage))
            return all(sharing.fetch(stage.path, stage.remote, monitor) for stage in wanted)

    def made(self) -> list[Stage]:
        """Return the stages that the task makes, in the order in which data flows."""
        return [self.stage]

    def label(self, stage: Stage) -> str:
        """Return the name of a stage in messages of its progress."""
        return stage.name

    def _show(self, stages: Iterable[Stage]) -> None:
        """Let ``latest`` lead to the results of stages, and copy files of this one into the outputs folder."""
        for stage in stages:
            point_latest(stage, settings.active().latest, RUN.id)
        for name in self.shown:
            copy_out(self.stage, name, settings.active().outputs, RUN.id)


def check_all_settings() -> None:
    """Check every setting, used or not, without opening a data file or asking a server.

    Raise `SettingError` for an impossible value, and ValueError for one of the wrong type, which
    `tasks.luigi_adapter.errors.message_of` explains.
    """
    luigid.check_flags()
    shared_work.check_settings()
    check_sections()
    for task in stage_classes():
        task.check_settings(task.configured())


def stage_classes() -> list[type[StageTask]]:
    """Return every class of stages that is declared, base classes included."""
    tasks = map(Register.get_task_cls, Register.task_names())
    return [task for task in tasks if issubclass(task, StageTask)]


def _share_out_cores(threads: int) -> None:
    """Limit the threads of NumPy's matrix products to this worker's cores; BLAS reads the limit when it is loaded."""
    for library in ("OPENBLAS", "MKL", "BLIS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", str(threads))
