"""The settings of a run, of its engines and of schedules: the sections of luigi.cfg with names in lower case."""

from __future__ import annotations

import functools
import math
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, cast

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration.cfg_parser import InterpolationMissingEnvvarError
from luigi.task_register import Register

from pipeline.engines import devices, lease
from pipeline.engines.theano.flags import FLOAT_TYPES, decisive_flags
from pipeline.errors import SettingError, did_you_mean
from pipeline.networks.declared import NETWORKS
from pipeline.progress.monitor import Monitor
from pipeline.store.remote.urls import check_remote
from pipeline.web.urls import is_web_url
from tasks.configuration import config_files
from tasks.luigi_adapter.configuration import is_ours
from tasks.luigi_adapter.parameters import boolean, number, optional_number, parameter, text, whole_number

MOST_THREADS = 1024
"""More than the cores of a large machine, and few enough for the system to start."""

PRECISIONS = ("float32", "tf32", "bf16")
"""Types that the torch engine can compute in."""

DATA_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
NO_DATA_NAMES = {"checkpoints", "latest", "logs"}
"""Folders in the outputs folder that belong to no stage."""


class settings(luigi.Config):  # noqa: N801, Luigi takes the section's name from it
    """Settings of every stage of a run."""

    use_cmdline_section = False  # so that flags have no prefix: --seed, not --settings-seed
    without_effect = ("threads", "force", "cache_dir", "results_url", "luigid")  # settings that change no result

    engine = text("auto", f"Engine: {', '.join(devices.ENGINES)}, or auto: triton or torch on CUDA, numba on the CPU.")
    device = text("auto", "Device to compute on: cpu, cuda, cuda:1 (the second GPU), or auto for CUDA where it works.")
    seed = whole_number(42, "Seed of the generator that draws the initial weights: 0 to 4294967295.")
    threads = whole_number(0, "CPU threads that a stage computes with; 0 shares the cores out among the workers.")
    force = text("", "Stages to run again although their results are there: names with commas between them.")
    versions_in_key = boolean(False, "Whether a stage runs again when one of its libraries has another version.")
    data_dir = text("data", "Folder of the archive and the data sets made from it.")
    outputs_dir = text("outputs", "Folder of trained networks, results and the report.")
    cache_dir = text(".cache", "Folder of files that only save time; it may be removed at any time.")
    data = text("", "Name of a folder inside data_dir and outputs_dir, for results on other data. Empty: none.")
    luigid = text("", "Host and port of a luigid, HOST:PORT; with a remote, machines share the stages. Empty: none.")
    results_url = text("", "URL of a web server's outputs folder, for links on luigid's page. Empty: a file: URL.")

    @classmethod
    def active(cls) -> Self:
        """Return the settings of this command line; Luigi parses them once."""
        return cast(Self, _active(CmdlineParser.get_instance()))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("data_dir", "outputs_dir", "cache_dir"):
            if not getattr(self, name).strip():
                raise SettingError(f"{name} is empty; expected the name of a folder, such as {name.partition('_')[0]}.")
        if self.data:
            _check_data_name(self.data)

    def url(self, name: str) -> str:
        """Return the URL of a file in the outputs folder."""
        base = self.results_url or Path(self.outputs_dir).resolve().as_uri()
        return "/".join([base.rstrip("/"), *filter(None, [self.data]), name])

    @property
    def data_sets(self) -> Path:
        """The folder of the archive and the data sets made from it."""
        return Path(self.data_dir) / self.data

    @property
    def outputs(self) -> Path:
        """The folder of trained networks, results and the report."""
        return Path(self.outputs_dir) / self.data

    @property
    def latest(self) -> Path:
        """The folder of the links that lead to the results in use."""
        return self.outputs / "latest"

    def thread_count(self) -> int:
        """Return the number of CPU threads for one stage; raise `SettingError` for impossible threads or workers."""
        if not 0 <= self.threads <= MOST_THREADS:
            raise SettingError(
                f"threads is {self.threads}; expected a whole number from 0, which shares the cores out, "
                f"to {MOST_THREADS} (there are {devices.cores()} cores)."
            )
        workers = luigi.interface.core().workers
        if workers < 1:
            raise SettingError(f"workers is {workers}; expected a whole number from 1.")
        return self.threads or max(1, devices.cores() // workers)

    def checked_seed(self, own: int | None = None) -> int:
        """Return the seed, or a task's own; raise `SettingError` for one that NumPy's generator does not accept."""
        seed = int(self.seed if own is None else own)
        if not 0 <= seed < 2**32:
            raise SettingError(f"seed is {seed}; expected a whole number from 0 to 4294967295.")
        return seed

    def choice(self, engine: str | None = None, device: str | None = None) -> devices.Choice:
        """Choose the engine and the device, from a task's own or these settings."""
        return _choose(engine or self.engine, device or self.device)

    def lease(self, choice: devices.Choice, monitor: Monitor) -> AbstractContextManager[None]:
        """Return a context with a GPU of its own, where one was chosen."""
        return lease.held(choice.cards, self.cache("gpus"), monitor)

    def forced(self) -> frozenset[str]:
        """Return the names of the stages to run again."""
        return frozenset(filter(None, (name.strip() for name in self.force.split(","))))

    def cache(self, name: str) -> Path:
        """Return the path of a file in the cache folder."""
        return Path(self.cache_dir) / name


class theano(luigi.Config):  # noqa: N801
    """Settings of the theano engine: those of the article's ``.theanorc`` beside the device."""

    without_effect = ()

    floatX = text("float32", "Type that Theano computes in: float32 or float64.")  # noqa: N815, Theano's name for it
    fastmath = boolean(False, "Whether Theano's compiler may reorder floating-point operations.")


class torch(luigi.Config):  # noqa: N801
    """Settings of the torch engine."""

    without_effect = ()

    precision = text("float32", "Type that layers compute in: float32, bf16, or tf32 on a GPU.")


class store(luigi.Config):  # noqa: N801
    """Settings of the remote, where several machines keep results."""

    remote = text(
        "", "URL where machines share results: s3://BUCKET/PREFIX, gs://, az://, file:///FOLDER. Empty: none."
    )
    remote_mode = parameter(
        luigi.ChoiceParameter,
        "readwrite",
        "Whether results of this machine go to the remote, too: read or readwrite.",
        choices=["read", "readwrite"],
    )

    @classmethod
    def active(cls) -> Self:
        """Return the settings of this command line; Luigi parses them once."""
        return cast(Self, _active_store(CmdlineParser.get_instance()))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.remote:
            check_remote(self.remote)


class gate(luigi.Config):  # noqa: N801
    """Least test accuracies for a new report."""

    minimum_accuracy_mlp = optional_number("Least test accuracy of the MLP, from 0 to 1. Empty: any.")
    minimum_accuracy_cnn = optional_number("Least test accuracy of the CNN, from 0 to 1. Empty: any.")
    largest_drop = optional_number("Largest drop below the latest report's test accuracy, from 0 to 1. Empty: any.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.param_kwargs.items():
            if value is not None and not 0 <= value <= 1:
                raise SettingError(f"gate.{name} is {value}; expected a number from 0 to 1, or nothing.")


class schedule(luigi.Config):  # noqa: N801
    """Settings of runs that a timer starts."""

    secret = ("on_failure_command", "on_failure_webhook")  # settings whose values are never shown

    when_busy = parameter(
        luigi.ChoiceParameter,
        "refuse",
        "Action of a scheduled run while another one uses its outputs folder: refuse or wait.",
        choices=["refuse", "wait"],
    )
    log_bytes = whole_number(1_000_000, "Size in bytes above which a run begins a new log.")
    log_files = whole_number(5, "Number of old logs to keep, from 1.")
    metrics_file = text("", "File of Prometheus's metrics. Empty: metrics.prom in the outputs folder.")
    on_failure_command = text("", "Command that receives the message of a failure. Empty: none.")
    on_failure_webhook = text("", "URL that receives the message of a failure. Empty: none.")
    notice_seconds = number(30.0, "Seconds that the command and the webhook may take.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("log_bytes", "log_files", "notice_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingError(f"schedule.{name} is {getattr(self, name)}; expected a number above 0.")
        if self.metrics_file and Path(self.metrics_file).is_dir():
            raise SettingError(
                f"schedule.metrics_file is {self.metrics_file!r}, which is a folder; expected a file, such as "
                f"{Path(self.metrics_file) / 'pipeline.prom'}."
            )
        if self.on_failure_webhook and not is_web_url(self.on_failure_webhook):  # its URL is a secret: not in a message
            raise SettingError("schedule.on_failure_webhook is not a URL to post to; expected https://HOST/PATH.")


def _check_data_name(name: str) -> None:
    """Refuse a name with other characters, and the name of another folder; some disks do not distinguish cases."""
    tasks = [task for task in Register.task_names() if task[:1].isupper() and is_ours(task)]
    kinds = {kind for task in tasks if (kind := getattr(Register.get_task_cls(task), "kind", None))}
    stages = [*tasks, *(f"{kind}{network}" for kind in kinds for network in NETWORKS)]
    taken = {stage.lower() for stage in stages} | NO_DATA_NAMES
    if not re.fullmatch(DATA_NAME, name) or name.lower() in taken:
        raise SettingError(
            f"data is {name!r}; expected up to 64 letters, digits, _ and -, such as flowers, but neither a stage's "
            f"name nor one of {', '.join(sorted(NO_DATA_NAMES))}."
        )


def check_sections() -> None:
    """Raise `SettingError` where a section has an impossible value, used or not."""
    chosen = settings.active()
    devices.check(chosen.engine, chosen.device)
    chosen.checked_seed()
    chosen.thread_count()
    _check_engine_sections()
    store.active()
    gate()  # its constructor checks its values, as that of `schedule` does
    try:
        schedule()
    except ValueError as error:
        # The timer may set environment variables that this shell lacks.
        if not isinstance(error.__cause__, InterpolationMissingEnvvarError):
            raise


def engine_settings(engine: str) -> dict[str, Any]:
    """Return the settings of an engine, by its names for them."""
    _check_engine_sections()
    if engine == "theano":
        chosen = {"float_x": theano().floatX, "fast_math": theano().fastmath}
        return {**chosen, "flags": decisive_flags()}
    return {"precision": torch().precision} if engine == "torch" else {}


def _check_engine_sections() -> None:
    for name, value, allowed in (
        ("theano.floatX", theano().floatX, FLOAT_TYPES),
        ("torch.precision", torch().precision, PRECISIONS),
    ):
        if value not in allowed:
            raise SettingError(f"{name} is {value!r}; expected {' or '.join(allowed)}.{did_you_mean(value, allowed)}")


@functools.lru_cache(maxsize=1)
def _active(_: CmdlineParser | None) -> settings:
    config_files.check_files()
    return settings()


@functools.lru_cache(maxsize=1)
def _active_store(_: CmdlineParser | None) -> store:
    return store()


_choose = functools.cache(devices.choose)  # looking for a GPU takes time, and each task asks
