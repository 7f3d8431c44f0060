"""Declare parameters that ``--help`` lists.

Written for Luigi 3.8.1, whose ``--help`` hides the parameters of all tasks but the one that is run, and whose boolean
flags have no value, so that none sets false. This module can go when Luigi shows all and its booleans take a value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import luigi

Kind = TypeVar("Kind", bound=luigi.Parameter[Any])


def parameter(kind: Callable[..., Kind], default: Any, description: str, **options: Any) -> Kind:
    """Return a parameter of one of Luigi's classes."""
    return kind(default=default, description=description, always_in_help=True, **options)


text = functools.partial(parameter, luigi.StrParameter)
whole_number = functools.partial(parameter, luigi.IntParameter)
number = functools.partial(parameter, luigi.FloatParameter)
optional_text = functools.partial(parameter, luigi.OptionalParameter, None)
optional_whole_number = functools.partial(parameter, luigi.OptionalIntParameter, None)
optional_number = functools.partial(parameter, luigi.OptionalFloatParameter, None)


def boolean(default: bool, description: str) -> luigi.BoolParameter:
    """Return a parameter that is true or false."""
    explicit = luigi.BoolParameter.EXPLICIT_PARSING
    return parameter(luigi.BoolParameter, default, f"{description.rstrip('.')}: true or false.", parsing=explicit)
