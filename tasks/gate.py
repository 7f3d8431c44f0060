"""The gate before the report: a network must be as accurate as the settings ask."""

from __future__ import annotations

from typing import Any

import luigi

from pipeline.errors import AccuracyError, SettingError
from pipeline.store import results
from pipeline.store.record import Record
from tasks.learning import Evaluate
from tasks.run import RUN
from tasks.settings import settings


class gate(luigi.Config):  # noqa: N801, Luigi takes the section's name from it
    """What a network's test accuracy must be for the report to be written."""

    minimum_accuracy_mlp = luigi.OptionalFloatParameter(
        default=None, always_in_help=True, description="Least test accuracy of the MLP, from 0 to 1. Empty: any."
    )
    minimum_accuracy_cnn = luigi.OptionalFloatParameter(
        default=None, always_in_help=True, description="Least test accuracy of the CNN, from 0 to 1. Empty: any."
    )
    largest_drop = luigi.OptionalFloatParameter(
        default=None,
        always_in_help=True,
        description="By how much a test accuracy may be below that of the latest report, from 0 to 1. Empty: any.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.param_kwargs.items():
            if value is not None and not 0 <= value <= 1:
                raise SettingError(f"gate.{name} is {value}; expected a number from 0 to 1, or nothing.")


class GateTask(luigi.Task):
    """Fail if a network is not accurate enough; no result is kept, so that each run asks anew."""

    network = luigi.Parameter()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = gate()
        self._evaluation = self.requires().stage
        self.task_id = f"{self.task_family}_{self.network}_{self._evaluation.key}_{RUN.id}"

    @property
    def is_open(self) -> bool:
        """Whether any accuracy will do."""
        return self._minimum is None and self._limits.largest_drop is None

    def requires(self) -> Evaluate:
        """Name the evaluation whose accuracy counts."""
        return Evaluate.of(self.network)

    def complete(self) -> bool:
        """Tell whether there is an accuracy, and whether it is high enough."""
        record = results.current(self._evaluation, RUN.forced_stages())
        return record is not None and self._fault(record) is None

    def run(self) -> None:
        """Raise an error that has the figures."""
        record = results.current(self._evaluation, RUN.forced_stages())
        if record is not None and (fault := self._fault(record)):
            raise AccuracyError(
                f"{fault} The report stays as it was. The limits are in the section [gate] of luigi.cfg."
            )

    def reported(self) -> float | None:
        """Return the network's accuracy behind the latest report; None where there is none any more."""
        report = Record.read(settings.active().latest / "Report")
        source = report.inputs.get(f"evaluated_{self.network}", {}) if report else {}
        record = Record.read(self._evaluation.path.with_name(source["key"])) if "key" in source else None
        return record.measured.get("accuracy") if record else None

    @property
    def _minimum(self) -> float | None:
        minimum: float | None = getattr(self._limits, f"minimum_accuracy_{self.network}", None)  # few have one
        return minimum

    def _fault(self, record: Record) -> str | None:
        accuracy, name = record.measured["accuracy"], self._evaluation.name
        if self._minimum is not None and accuracy < self._minimum:
            return f"{name}: test accuracy {accuracy:.4f}; expected at least {self._minimum:g}."
        drop, before = self._limits.largest_drop, self.reported()
        if drop is not None and before is not None and accuracy < before - drop:
            return (
                f"{name}: test accuracy {accuracy:.4f}, which is {before - accuracy:.4f} below the {before:.4f} "
                f"of the latest report; expected a drop of {drop:g} at most."
            )
        return None
