"""Talk to luigid: fail at once where there is none, and survive its restart.

Written for Luigi 3.8.1, which tries for a minute to reach a luigid that is not there, and ends a run whose luigid was
restarted and has forgotten its tasks. This module can go when Luigi checks the connection first and reschedules.
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
from tasks.luigi_adapter import console
from tasks.luigi_adapter.command_line import given


class LastingWorker(Worker):
    """A worker that schedules its tasks again where a restarted scheduler has forgotten them."""

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


def check_flags() -> None:
    """Raise `SettingError` where a flag names luigid, but a setting says to run without one."""
    for name in ("scheduler_host", "scheduler_port", "scheduler_url"):
        if given("core", name) and interface.core().local_scheduler:
            raise SettingError(
                f"--{name.replace('_', '-')} does not count while local_scheduler is true; set that to false in the "
                "section [core] of luigi.cfg, or lay luigid.cfg over it: LUIGI_CONFIG_PATH=luigid.cfg."
            )


interface._WorkerSchedulerFactory = _Factory  # type: ignore[misc]
