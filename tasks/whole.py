"""The whole pipeline, and the check of the device."""

from __future__ import annotations

from typing import Any

import luigi

from tasks.console import TaskMonitor
from tasks.learning import evaluator, trainer
from tasks.settings import settings
from tasks.stages import StageTask


class Report(StageTask):
    """Write what came out, beside what the article had."""

    function = "pipeline.report:write"
    networks = ("mlp", "cnn")

    def requires(self) -> dict[str, StageTask]:
        return {
            **{f"trained_{name}": trainer(name) for name in self.networks},
            **{f"evaluated_{name}": evaluator(name) for name in self.networks},
        }


class Pipeline(luigi.WrapperTask):
    """Everything: both networks, trained and evaluated, and the report."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._report = Report()  # made here, so that wrong settings end the run before it begins

    def requires(self) -> Report:
        """Name the last stage."""
        return self._report


class CheckDevice(luigi.Task):
    """Do the article's check with the configured engine: exp() over a vector, 1000 times."""

    done = False

    def run(self) -> None:
        """Compute and print."""
        from pipeline import device_check

        with TaskMonitor(self, self.task_family) as monitor:
            device_check.check(settings.active().choice(), settings.active().thread_count(), monitor)
        self.done = True

    def complete(self) -> bool:
        """Tell whether this process has done the check."""
        return self.done
