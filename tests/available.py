"""Which engines the machine can run."""

from __future__ import annotations

import pytest

from pipeline.engines.theano import setup
from pipeline.errors import EngineError


def require(engine):
    """Skip the test where the engine cannot be installed; Theano's environment is built where it can be."""
    if engine != "theano":
        pytest.importorskip(engine)
        return
    try:
        setup.find_python(setup.find_compiler())
    except EngineError as error:
        pytest.skip(f"Theano cannot be installed here: {str(error).splitlines()[0]}")
    setup.build()
