"""Keep the latest report while a network is less accurate than the settings demand."""

from __future__ import annotations

from typing import Any

import luigi

from pipeline.errors import AccuracyError, SettingError
from pipeline.report.gate import accuracy_fault, reported_accuracy
from pipeline.store import results
from pipeline.store.record import Record
from tasks.learning import Evaluate
from tasks.luigi_adapter.parameters import optional_number
from tasks.settings import settings
from tasks.this_run import RUN


class gate(luigi.Config):  # noqa: N801, Luigi takes the section's name from it
    """Least test accuracies for a new report."""

    minimum_accuracy_mlp = optional_number("Least test accuracy of the MLP, from 0 to 1. Empty: any.")
    minimum_accuracy_cnn = optional_number("Least test accuracy of the CNN, from 0 to 1. Empty: any.")
    largest_drop = optional_number("Largest drop below the latest report's test accuracy, from 0 to 1. Empty: any.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.param_kwargs.items():
            if value is not None and not 0 <= value <= 1:
                raise SettingError(f"gate.{name} is {value}; expected a number from 0 to 1, or nothing.")


class GateTask(luigi.Task):
    """Fail if a network is not accurate enough. The task has no result, so that each run compares again."""

    network = luigi.Parameter()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = gate()
        self._evaluation = self.requires().stage
        self.task_id = f"{self.task_family}_{self.network}_{self._evaluation.key}_{RUN.id}"

    @property
    def is_open(self) -> bool:
        """Whether every accuracy passes, because no limit is set."""
        return self._minimum is None and self._limits.largest_drop is None

    def requires(self) -> Evaluate:
        """Return the evaluation."""
        return Evaluate.of(self.network)

    def complete(self) -> bool:
        """Return whether the network has an accuracy, and it is high enough."""
        record = results.current(self._evaluation, RUN.forced_stages())
        return record is not None and self._fault(record) is None

    def run(self) -> None:
        """Raise an error with the figures."""
        record = results.current(self._evaluation, RUN.forced_stages())
        if record is not None and (fault := self._fault(record)):
            raise AccuracyError(
                f"{fault} The report stays as it was. The limits are in the section [gate] of luigi.cfg."
            )

    def reported(self) -> float | None:
        """Return the network's accuracy in the latest report, or None where there is none."""
        return reported_accuracy(settings.active().latest / "Report", self.network, self._evaluation.path.parent)

    @property
    def _minimum(self) -> float | None:
        minimum: float | None = getattr(
            self._limits, f"minimum_accuracy_{self.network}", None
        )  # only mlp and cnn have one
        return minimum

    def _fault(self, record: Record) -> str | None:
        return accuracy_fault(
            self._evaluation.name,
            record.measured["accuracy"],
            minimum=self._minimum,
            reported=self.reported(),
            largest_drop=self._limits.largest_drop,
        )
