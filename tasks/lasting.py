"""Runs and luigid: one that is not there ends a run at once; one that went away during it may come back.

One that was killed has forgotten what there is to do, and is told again.
"""

from __future__ import annotations

from http.client import HTTPException
from json import JSONDecodeError
from typing import Any

from luigi import interface
from luigi.rpc import RemoteScheduler, RPCError
from luigi.scheduler import Scheduler
from luigi.worker import Worker

from pipeline.errors import SettingError
from pipeline.web.urls import without_secrets
from tasks import console


class LastingWorker(Worker):
    """A worker that has its tasks scheduled anew where the scheduler no longer knows the one that was asked for."""

    def run(self) -> bool:
        succeeded: bool = super().run()
        while self._is_forgotten():
            self.add(self._scheduled_tasks[self._first_task])
            succeeded = super().run()
        return succeeded

    def _is_forgotten(self) -> bool:
        if isinstance(self._scheduler, Scheduler) or self._first_task not in self._scheduled_tasks:
            return False
        return not self._scheduler.task_search(task_str=self._first_task)


def _create_remote_scheduler(_: Any, url: str) -> RemoteScheduler:
    """Connect with luigid. Luigi by itself finds out with the first task, and tries again for a minute or more."""
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
            f"what answers at {without_secrets(url)} is no luigid. Name the place of one, as with "
            "--scheduler-host and --scheduler-port, or use none: --local-scheduler."
        )
    scheduler._rpc_retry_attempts, scheduler._rpc_log_retries = patience
    return scheduler


def _is_luigid(scheduler: RemoteScheduler) -> bool:
    """Tell whether the answer to a question is one that luigid would give."""
    try:
        return bool(scheduler.is_pause_enabled().keys() == {"enabled"})  # type: ignore[attr-defined]
    except (AttributeError, HTTPException, JSONDecodeError, LookupError, TypeError, UnicodeDecodeError):
        return False


def _create_worker(_: Any, scheduler: Any, worker_processes: int, assistant: bool = False) -> Worker:
    console.begin(worker_processes)
    return LastingWorker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)


interface._WorkerSchedulerFactory.create_remote_scheduler = _create_remote_scheduler  # type: ignore[method-assign]
interface._WorkerSchedulerFactory.create_worker = _create_worker  # type: ignore[method-assign]
