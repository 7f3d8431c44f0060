"""Runs that outlive luigid: one that was killed has forgotten what there is to do, and is told again."""

from __future__ import annotations

from typing import Any

from luigi import interface
from luigi.scheduler import Scheduler
from luigi.worker import Worker


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


def _create_worker(_: Any, scheduler: Any, worker_processes: int, assistant: bool = False) -> Worker:
    return LastingWorker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)


interface._WorkerSchedulerFactory.create_worker = _create_worker  # type: ignore[method-assign]
