"""The settings in force that differ from the defaults and can change a result, or where it is kept."""

from __future__ import annotations

import configparser
import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser

from pipeline.web.urls import without_secrets

NO_RESULT = {
    "settings": {"threads", "force", "cache_dir", "results_url"},
    "DownloadCIFAR": {"minimum_rate", "connect_timeout", "stall_timeout", "time_limit", "attempts"},
}
"""Settings that change no result, by section; the other settings of these sections do."""


def changed() -> dict[str, str]:
    """Return them with their values, as in ``{"TrainCNN.learning_rate": "0.02"}``; of URLs, what may be shown."""
    return _changed(CmdlineParser.get_instance())


def decisive_names() -> set[str]:
    """Return the names of all settings that can change a result."""
    return {f"{section}.{name}" for section, name, _ in _that_matter()}


@functools.lru_cache(maxsize=1)
def _changed(_: CmdlineParser | None) -> dict[str, str]:
    found = {}
    for section, name, parameter in _that_matter():
        with contextlib.suppress(ValueError, configparser.Error):  # of a section that a notebook makes no use of
            value = _given_to_the_task(section, name, parameter) or parameter.task_value(section, name)
            if (text := _text(parameter, value)) != _text(parameter, parameter.normalize(parameter._default)):
                found[f"{section}.{name}"] = without_secrets(text)
    return found


def _that_matter() -> Iterator[tuple[str, str, luigi.Parameter[Any]]]:
    from tasks import stages  # these know of runs, which know of this
    from tasks.settings import settings, theano, torch

    tasks: list[type[luigi.Task]] = [settings, theano, torch, *stages.kinds()]
    for task in tasks:
        section = str(task.task_family)
        without = {*NO_RESULT.get(section, ()), *getattr(task, "identifying", ())}
        yield from ((section, name, parameter) for name, parameter in task.get_params() if name not in without)


def _given_to_the_task(section: str, name: str, parameter: luigi.Parameter[Any]) -> Any:
    """Return what the task of the command line is given without its name: 3 for ``TrainCNN --epochs 3``."""
    parser = CmdlineParser.get_instance()
    given = getattr(parser.known_args, name, None) if parser and parser.known_args.root_task == section else None
    return parameter.parse(given) if given else None


def _text(parameter: luigi.Parameter[Any], value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = parameter.serialize(value)
    return " ".join(text.split()) if "\n" in text else text
