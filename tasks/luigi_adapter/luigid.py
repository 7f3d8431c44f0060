"""Talk to luigid: fail at once where there is none, survive its restart, and end well where others did the work.

Written for Luigi 3.8.1, which tries for a minute to reach a luigid that is not there, ends a run whose luigid was
restarted and has forgotten its tasks, gives a failed task to the same worker for ever, and ends with exit status 25
where another worker has made everything. This module can go when Luigi does none of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http.client import HTTPException
from json import JSONDecodeError
from typing import Any

from luigi import execution_summary, interface
from luigi.configuration import get_config
from luigi.rpc import RemoteScheduler, RPCError
from luigi.scheduler import Scheduler
from luigi.task_status import DONE, FAILED
from luigi.worker import GetWorkResponse, Worker

from pipeline.errors import SettingError
from pipeline.web.urls import without_secrets
from tasks.luigi_adapter import console
from tasks.luigi_adapter.command_line import given

WITH_LUIGID = {
    "core": {
        "local_scheduler": "false",
        "rpc_retry_attempts": "120",
        "rpc_retry_wait": "5",
        "rpc_log_retries": "false",
    },
    # Waiting runs ask every 3 seconds: 100 that ask each second fill a luigid of 1,000 stages (bench/luigid.py). A
    # process of its own for each stage: the run answers luigid also while a stage computes.
    "worker": {"keep_alive": "true", "wait_interval": "3", "wait_jitter": "1", "force_multiprocessing": "true"},
}
"""Luigi's settings of a run with luigid: it waits for stages that others make, and for luigid while that restarts."""

connected: list[LastingWorker] = []
"""The worker of this process."""

before_the_end: list[Callable[[], None]] = []
"""Functions to call before a run with luigid ends; they may find that others have made its results."""


class LastingWorker(Worker):
    """A worker that schedules its tasks again where a restarted scheduler has forgotten them.

    A task that has failed here is left to other workers.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._failed: set[str] = set()
        connected[:] = [self]

    @property
    def name(self) -> str:
        """The worker's name in luigid."""
        return str(self._id)

    @property
    def has_luigid(self) -> bool:
        """Whether luigid schedules its tasks, and not this process itself."""
        return not isinstance(self._scheduler, Scheduler)

    def others(self) -> set[str]:
        """Return the names of the other workers that are connected with luigid; none without luigid."""
        return workers(self._scheduler) - {self.name} if self.has_luigid else set()

    def is_complete(self) -> bool:
        """Return whether the result of the first task is there now, made by this machine or another."""
        for look in before_the_end:
            look()
        first = self._scheduled_tasks.get(self._first_task)
        return first is not None and first.complete()

    def _add_task(self, *arguments: Any, **described: Any) -> None:
        if described["status"] == FAILED:
            self._failed.add(described["task_id"])
        super()._add_task(*arguments, **described)

    def _run_task(self, task_id: str) -> None:
        if self.has_luigid and task_id in self._failed:
            self._scheduler.add_task(worker=self._id, task_id=task_id, status=FAILED, runnable=True)
        else:
            super()._run_task(task_id)

    def _keep_alive(self, response: GetWorkResponse) -> bool:
        """Wait while others make something; and for what is to do, unless it is downstream of a failed task."""
        if not self.has_luigid:
            return bool(super()._keep_alive(response))
        return bool(response.running_tasks or (not self._failed and super()._keep_alive(response)))

    def run(self) -> bool:
        succeeded: bool = super().run()
        while self._is_forgotten():
            next(self._sleeper())  # luigid ignores for ten seconds that what it has as done is to be made again
            self.add(self._scheduled_tasks[self._first_task])
            succeeded = super().run()
        return succeeded

    def _is_forgotten(self) -> bool:
        """Return whether the first task is to be added again, since luigid would not give it to this worker.

        luigid may have restarted, or have taken this worker for dead; or another machine has made the result, and could
        not write it to the remote.
        """
        first = self._first_task
        if not self.has_luigid or first not in self._scheduled_tasks or self._failed:
            return False
        found = self._scheduler.task_search(task_str=first)
        waiting = [tasks[first] for status, tasks in found.items() if first in tasks and status != DONE]
        return not any(self.name in task["workers"] for task in waiting) and not self.is_complete()


class _Factory(interface._WorkerSchedulerFactory):
    """Makes Luigi's connection with luigid, and its worker."""

    def create_remote_scheduler(self, url: str) -> RemoteScheduler:
        """Connect with luigid, and ask it one question without retries."""
        scheduler = RemoteScheduler(url)
        patience = scheduler._rpc_retry_attempts, scheduler._rpc_log_retries
        scheduler._rpc_retry_attempts, scheduler._rpc_log_retries = 1, False
        try:
            is_luigid = _is_luigid(scheduler)
        except (RPCError, ValueError):
            raise SettingError(
                f"no scheduler answers at {without_secrets(url)}. Start luigid there, or use none: --local-scheduler."
            ) from None
        if not is_luigid:
            raise SettingError(
                f"the server at {without_secrets(url)} is no luigid. Name one with --scheduler-host and "
                "--scheduler-port, or use none: --local-scheduler."
            )
        scheduler._rpc_retry_attempts, scheduler._rpc_log_retries = patience
        return scheduler

    def create_worker(self, scheduler: Any, worker_processes: int, assistant: bool = False) -> Worker:
        console.share_messages()
        return LastingWorker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)


def _is_luigid(scheduler: RemoteScheduler) -> bool:
    """Return whether luigid answers; another server at this URL answers with other content."""
    try:
        return bool(scheduler.is_pause_enabled().keys() == {"enabled"})  # type: ignore[attr-defined]
    except (AttributeError, HTTPException, JSONDecodeError, LookupError, TypeError, UnicodeDecodeError):
        return False


def use(address: str) -> None:
    """Let Luigi use the luigid at ``HOST:PORT``; raise `SettingError` for another text."""
    if not (found := re.fullmatch(r"([\w.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", address)):
        raise SettingError(f"luigid is {address!r}; expected its host and port, such as localhost:8082.")
    config = get_config()
    for section, values in WITH_LUIGID.items():
        for name, value in values.items():
            config.set(section, name, value)
    config.set("core", "scheduler_url", f"http://{found[1]}:{found[2]}/")


def connect() -> Any:
    """Connect with the luigid of the settings, and outlive its restart; raise `SettingError` if there is none now."""
    return _Factory().create_remote_scheduler(interface.core().scheduler_url)


def workers(scheduler: Any) -> set[str]:
    """Return the names of the workers that are connected with luigid."""
    return {worker["name"] for worker in scheduler.worker_list(include_running=False)}


def check_flags() -> None:
    """Raise `SettingError` where a flag names luigid, but a setting says to run without one."""
    for name in ("scheduler_host", "scheduler_port", "scheduler_url"):
        if given("core", name) and interface.core().local_scheduler:
            raise SettingError(
                f"--{name.replace('_', '-')} does not count while local_scheduler is true; set that to false in the "
                "section [core] of luigi.cfg, or lay luigid.cfg over it: LUIGI_CONFIG_PATH=luigid.cfg."
            )


def _summary(worker: Worker) -> dict[str, Any]:
    """Summarise a run for its exit status: where all results are there, it has completed its task."""
    if isinstance(worker, LastingWorker) and worker.has_luigid and worker.is_complete():
        root = execution_summary._root_task(worker)
        return {category: set[Any]() for category in _luigis_summary(worker)} | {"completed": {root}}
    found: dict[str, Any] = _luigis_summary(worker)
    return found


_luigis_summary = execution_summary._summary_dict
execution_summary._summary_dict = _summary
interface._WorkerSchedulerFactory = _Factory  # type: ignore[misc]
