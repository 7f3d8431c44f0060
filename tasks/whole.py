"""The report, the whole pipeline, the comparison of engines, and the check of the device."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import luigi

from pipeline.engines import devices
from pipeline.errors import AccuracyError, PipelineError, SettingError, did_you_mean
from pipeline.files.digests import file_digest
from pipeline.networks.declared import NETWORKS
from pipeline.report.gate import accuracy_fault, reported_accuracy
from pipeline.store import results
from pipeline.store.stage import Stage
from tasks import shared_work
from tasks.configuration.changed import changed
from tasks.data import ConvertToHDF5
from tasks.learning import Evaluate, History, Train
from tasks.luigi_adapter.console import TaskMonitor
from tasks.luigi_adapter.errors import end
from tasks.luigi_adapter.parameters import text
from tasks.settings import gate, settings
from tasks.stages import StageTask
from tasks.this_run import RUN

REPORT_PAGE = "report.html"
"""The report's file, copied into the outputs folder."""


class Report(StageTask):
    """Show the results beside the article's, on one page.

    While a network is less accurate than the section [gate] demands, the task fails, and the latest page stays.
    """

    function = "pipeline.report.report:write_report"
    libraries = ("numpy", "h5py", "matplotlib", "pillow")
    shown = (REPORT_PAGE,)
    wanted = True

    networks = text(
        "mlp,cnn",
        "Networks that the report shows, in this order: names with commas between them, each one of "
        f"{', '.join(NETWORKS)}.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Both are kept, since the end of the run asks again whether the result may be published, without the flags.
        self._limits, self._latest = gate().param_kwargs, settings.active().latest / self.stage_name
        super().__init__(*args, **kwargs)
        RUN.shown[settings.active().outputs / REPORT_PAGE] = self

    @classmethod
    def check_settings(cls, given: Any) -> None:
        cls._checked_networks(given.networks)

    def requires(self) -> dict[str, StageTask]:
        return {
            **{f"trained_{name}": Train.of(name) for name in self._names},
            **{f"evaluated_{name}": task for name, task in self._evaluations.items()},
            "images": ConvertToHDF5(),
        }

    def companions(self) -> list[StageTask]:
        return [History.of(name) for name in self._names]

    def run(self) -> None:
        if faults := self._faults():
            raise AccuracyError(
                f"{' '.join(faults)} The report stays as it was. The limits are in the section [gate] of luigi.cfg."
            )
        super().run()
        if self.set_tracking_url is not None:
            self.set_tracking_url(settings.active().url(f"latest/{self.stage_name}/{REPORT_PAGE}"))

    def may_be_published(self) -> bool:
        return not self._faults()

    def decides(self) -> dict[str, Any]:
        shown = {"comparison_sha256": self._comparison, "sweep_sha256": self._sweep}
        return {"networks": self._names, **{name: file_digest(path) for name, path in shown.items() if path}}

    def options(self) -> dict[str, Any]:
        reported = {name: self._reported(name) for name in self._names}
        return {
            "results": [stage.path for stage in results.upstream(*(task.stage for task in self.requires().values()))],
            "run": RUN.id,
            "command": RUN.command,
            "settings": changed(),
            "previous": {name: accuracy for name, accuracy in reported.items() if accuracy is not None},
            "comparison": self._comparison,
            "sweep": self._sweep,
        }

    def _faults(self) -> list[str]:
        """Return a sentence for each network whose accuracy is below the limits of the gate."""
        drop = self._limits["largest_drop"]
        faults = []
        for name, task in self._evaluations.items():
            minimum = self._limits.get(f"minimum_accuracy_{name}")
            has_limit = minimum is not None or drop is not None
            if has_limit and (record := results.current(task.stage, RUN.forced_stages())):
                accuracy, reported = record.number("accuracy") or 0.0, self._reported(name)
                faults.append(
                    accuracy_fault(task.stage_name, accuracy, minimum=minimum, reported=reported, largest_drop=drop)
                )
        return list(filter(None, faults))

    def _reported(self, network: str) -> float | None:
        """Return the accuracy of a network in the latest report, which another run may have published meanwhile."""
        return reported_accuracy(self._latest, network, self._evaluations[network].stage.path.parent)

    @functools.cached_property
    def _evaluations(self) -> dict[str, Evaluate]:
        return {name: Evaluate.of(name) for name in self._names}

    @functools.cached_property
    def _names(self) -> list[str]:
        return self._checked_networks(self.networks)

    @staticmethod
    def _checked_networks(given: str) -> list[str]:
        names = [name.strip() for name in given.split(",")]
        expected = f"expected names with commas between them, each once, of {', '.join(NETWORKS)}"
        if not given.strip():
            raise SettingError(f"Report.networks is empty; {expected}.")
        for name in names:
            if name not in NETWORKS:
                raise SettingError(
                    f"Report.networks names {name!r}, which pipeline/networks/declared.py does not declare; {expected}."
                    f"{did_you_mean(name, NETWORKS)}"
                )
            if names.count(name) > 1:
                raise SettingError(f"Report.networks names {name!r} more than once; {expected}.")
        return names

    @functools.cached_property
    def _comparison(self) -> Path | None:
        """The file of the last comparison of engines, if there is one."""
        return _latest_file("Compare", "comparison.json")

    @functools.cached_property
    def _sweep(self) -> Path | None:
        """The file of the last sweep, if there is one."""
        return _latest_file("Sweep", "sweep.json")


def _latest_file(stage: str, name: str) -> Path | None:
    path = settings.active().latest / stage / name
    return path.resolve() if path.is_file() else None


PIPELINE: tuple[type[StageTask], ...] = (Report,)
"""The last stages. The pipeline consists of them, their companions and all stages upstream."""


class Pipeline(luigi.WrapperTask):
    """Run everything: train and evaluate the networks of the report, and write the report."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        last = [stage() for stage in PIPELINE]  # created here, so that a wrong setting ends the run before it begins
        self._last = [task for stage in last for task in (stage, *stage.companions())]
        self.task_id = "_".join([self.task_family, *(task.task_id for task in self._last)])

    @property
    def stages(self) -> list[Stage]:
        """All stages, in the order in which data flows."""
        return results.upstream(*(task.stage for task in self._last))

    def requires(self) -> list[StageTask]:
        """Return the last stages."""
        return self._last

    def run(self) -> None:
        """Do nothing but find what other machines have made."""
        RUN.look_again()

    def complete(self) -> bool:
        try:
            RUN.begin_with(*(task.stage for task in self._last))
        except (PipelineError, OSError) as error:
            end(error)
        return bool(super().complete())


class Compare(StageTask):
    """Train both networks on every engine and device of this machine; compare accuracy and speed with the article."""

    function = "pipeline.report.comparison:compare"
    libraries = ("matplotlib",)
    runs_alone = True

    seeds = luigi.Parameter(default="42", description="Seeds to train with, whole numbers with commas between them.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if shared_work.is_shared():
            raise SettingError(
                "Compare measures the engines of this machine, and cannot be shared with others; leave out SCHEDULER=."
            )
        super().__init__(*args, **kwargs)

    @classmethod
    def check_settings(cls, given: Any) -> None:
        cls._checked_seeds(given.seeds)

    @functools.cached_property
    def _trials(self) -> list[dict[str, Any]]:
        """The trainings to compare: each network of the article on each engine and device, from each seed."""
        return [
            {"network": network, "engine": engine, "device": device, "seed": seed}
            for network in ("mlp", "cnn")
            for engine, device in devices.usable()
            for seed in self._checked_seeds(self.seeds)
        ]

    def requires(self) -> dict[str, StageTask]:
        tasks: dict[str, StageTask] = {}
        for number, trial in enumerate(self._trials):
            network, engine, device, seed = trial.values()
            chosen = {"on_engine": engine, "on_device": device, "from_seed": seed}
            trained_on = {"trained_on_engine": engine, "trained_on_device": device}
            tasks[f"trained_{number}"] = Train.of(network, **chosen)
            tasks[f"evaluated_{number}"] = Evaluate.of(network, **chosen, **trained_on)
        return tasks

    def decides(self) -> dict[str, Any]:
        return {"trials": self._trials}

    @staticmethod
    def _checked_seeds(seeds: str) -> list[int]:
        try:
            return [settings.active().checked_seed(int(seed)) for seed in seeds.split(",")]
        except ValueError:
            raise SettingError(f"Compare.seeds is {seeds!r}; expected whole numbers, such as 1,2,3.") from None


class CheckDevice(luigi.Task):
    """Run the article's check of the device: exp() over a vector, 1000 times."""

    done = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._choice, self._threads = settings.active().choice(), settings.active().thread_count()

    def run(self) -> None:
        """Run the check and print its result."""
        from pipeline.engines import device_check

        with TaskMonitor(self, self.task_family) as monitor, settings.active().lease(self._choice, monitor):
            device_check.check(self._choice, self._threads, monitor)
        self.done = True

    def complete(self) -> bool:
        """Return whether this process has run the check."""
        return self.done
