"""Share the stages of a run with other machines: luigid gives each stage to one, and the remote has the results.

Every machine gives the same command. Their tasks have the same names in luigid, since these have the stages' keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import SettingError
from pipeline.files.digests import json_digest
from pipeline.store.remote.shared import Remote
from tasks.configuration.changed import changed_for, names_for
from tasks.configuration.make_variables import flag_of
from tasks.luigi_adapter import luigid
from tasks.luigi_adapter.errors import tasks_by_name
from tasks.settings import settings, store

OF_A_MACHINE = ("settings.data_dir", "settings.outputs_dir", "DownloadCIFAR.archive", "DownloadCIFAR.sources")
"""Settings that may differ between the machines of a run."""


def is_shared() -> bool:
    """Return whether runs share their work with other machines."""
    return bool(settings.active().luigid and store.active().remote)


def group() -> str:
    """Return what names the machines that share a run's work: a digest of their remote; empty where it is not shared.

    Machines of another remote never find the results of these there.
    """
    return json_digest(store.active().remote)[:8] if is_shared() else ""


def check_settings() -> None:
    """Raise `SettingError` where a setting would be another on each machine, or leaves results on this one."""
    chosen = settings.active()
    if chosen.luigid:
        luigid.use(chosen.luigid)
    if not is_shared():
        return
    check_choice(chosen.engine, chosen.device)
    if chosen.forced():
        raise SettingError(
            f"force is {chosen.force!r}; expected none, since several machines share this run, and one that has made "
            "a stage cannot know that another is to make it again. Leave out SCHEDULER=."
        )
    if store.active().remote_mode != "readwrite":
        raise SettingError(
            "store.remote_mode is 'read'; expected 'readwrite', since other machines need the results of this one."
        )


def check_choice(engine: str, device: str) -> None:
    """Raise `SettingError` where each machine would choose an engine or a device of its own."""
    if is_shared() and (device == "auto" or (engine == "auto" and device != "cpu")):
        raise SettingError(
            f"engine is {engine!r} and device is {device!r}; expected both by name, since machines that share a run "
            "must make the same choice. Type DEVICE=cpu, or ENGINE=triton DEVICE=cuda; "
            "without make --device cpu, or --engine triton --device cuda."
        )


@dataclass(frozen=True)
class OtherRun:
    """A run under way on another machine.

    ``settings`` are those that differ from their defaults; ``needs`` are the names of its records in the remote.
    """

    host: str
    task: str
    settings: dict[str, str]
    needs: frozenset[str]


def described(task: str, archive: str) -> dict[str, Any]:
    """Describe this run for other machines; ``archive`` is the digest of the archive that it reads."""
    own = {name: value for name, value in changed_for(task).items() if name not in OF_A_MACHINE}
    return {
        "task": task,
        "worker": luigid.connected[0].name if luigid.connected else "",
        "settings": own | ({"DownloadCIFAR.sha256": archive} if archive else {}),
    }


def command_of(run: OtherRun) -> list[str] | None:
    """Return what to give to Luigi to share another machine's run; None where its task or a setting is not known here.

    Only settings that can change a result are taken: others could have this machine read or execute files.
    """
    if run.task not in tasks_by_name() or not run.settings.keys() <= names_for(run.task) - set(OF_A_MACHINE):
        return None
    own = settings.active()
    shared = {"settings.luigid": own.luigid, "store.remote": store.active().remote}
    folders = {"settings.data_dir": own.data_dir, "settings.outputs_dir": own.outputs_dir}
    return [run.task, *(f"{flag_of(name)}={value}" for name, value in (run.settings | shared | folders).items())]


def other_runs(remote: Remote, workers: set[str]) -> list[OtherRun]:
    """Return the runs under way whose workers luigid knows, on other machines or in other folders of this one."""
    return [run for about in remote.under_way() if about.get("worker") in workers and (run := _other_run(about))]


def differences(run: OtherRun, own: Mapping[str, str]) -> list[str]:
    """Name the settings that differ between another run and this one, as ``TrainCNN.epochs is 5 there, 50 here``."""
    names = [name for name in {**run.settings, **own} if run.settings.get(name) != own.get(name)]
    return [
        f"{name} is {run.settings.get(name, 'its default')} there, {own.get(name, 'its default')} here"
        for name in names
    ]


def _other_run(about: Mapping[str, Any]) -> OtherRun | None:
    """Check what another machine has written; None where a part of it is missing or has another type."""
    host, task, given, needs = (about.get(name) for name in ("host", "task", "settings", "needs"))
    if not (isinstance(host, str) and isinstance(task, str) and isinstance(given, dict) and isinstance(needs, list)):
        return None
    if not all(isinstance(text, str) and text.isprintable() for text in (host, task, *given, *given.values(), *needs)):
        return None
    return OtherRun(host, task, given, frozenset(needs))
