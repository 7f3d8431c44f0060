"""List the settings that differ from their defaults and can change a result or its folder."""

from __future__ import annotations

import configparser
import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register

from pipeline.web.urls import without_secrets
from tasks.luigi_adapter.command_line import root_task


def changed() -> dict[str, str]:
    """Return changed settings with their values, without secrets: ``{"TrainCNN.learning_rate": "0.02"}``."""
    return _changed(CmdlineParser.get_instance())


def changed_for(task: str) -> dict[str, str]:
    """Return changed settings as `changed` does, with those of the task that is run, which may affect no other run."""
    return changed() | _differing(
        (task, name, parameter) for name, parameter in Register.get_task_cls(task).get_params()
    )


def names_for(task: str) -> set[str]:
    """Return the names of all settings that `changed_for` a task may have."""
    own = {f"{task}.{name}" for name, _ in Register.get_task_cls(task).get_params()}
    return own | {f"{section}.{name}" for section, name, _ in _decisive_settings()}


def decisive_names() -> set[str]:
    """Return the names of all settings that can change a result of this run."""
    return {
        f"{section}.{name}"
        for section, name, _ in _decisive_settings()
        if section == root_task() or not getattr(Register.get_task_cls(section), "runs_alone", False)
    }


@functools.lru_cache(maxsize=1)
def _changed(_: CmdlineParser | None) -> dict[str, str]:
    return _differing(_decisive_settings())


def _differing(settings: Iterable[tuple[str, str, luigi.Parameter[Any]]]) -> dict[str, str]:
    found = {}
    for section, name, parameter in settings:
        with contextlib.suppress(ValueError, configparser.Error):  # in a section that a notebook does not use
            value = parameter.task_value(section, name)
            if (text := _text(parameter, value)) != _text(parameter, parameter.normalize(parameter._default)):
                found[f"{section}.{name}"] = without_secrets(text)
    return found


def _decisive_settings() -> Iterator[tuple[str, str, luigi.Parameter[Any]]]:
    """Yield the settings of each section with a ``without_effect``, except those that it names."""
    for section in sorted(Register.task_names(), key=str.swapcase):  # general sections before those of stages
        task = Register.get_task_cls(section)
        if (without_effect := getattr(task, "without_effect", None)) is not None:
            for name, parameter in task.get_params():
                if name not in without_effect:
                    yield section, name, parameter


def _text(parameter: luigi.Parameter[Any], value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = parameter.serialize(value)
    return " ".join(text.split()) if "\n" in text else text
