"""The user's own Theano flags: those that can change a result are part of its key."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.engines.theano.engine import TheanoEngine
from pipeline.engines.theano.flags import decisive_flags
from pipeline.errors import EngineError, SettingError
from tests.available import require

ON_THEANO = ("--engine", "theano")


@pytest.fixture(autouse=True)
def theanorc(monkeypatch, tmp_path):
    monkeypatch.delenv("THEANO_FLAGS", raising=False)
    monkeypatch.setenv("THEANORC", str(tmp_path / "theanorc"))
    return tmp_path / "theanorc"


def key(checkout):
    return checkout.status(*ON_THEANO)["TrainCNN"]["key"]


def test_flags_that_change_a_result_are_part_of_its_key(trained, monkeypatch, theanorc):
    keys = {key(trained)}
    for flags in ("gcc.cxxflags=-ffast-math", "optimizer=fast_compile", "no_such_flag=1"):
        monkeypatch.setenv("THEANO_FLAGS", flags)
        keys.add(key(trained))
    monkeypatch.delenv("THEANO_FLAGS")
    for lines in ("[gcc]\ncxxflags = -O0\n", "[gcc]\ncxxflags = -I%(HOME)s\n"):
        theanorc.write_text(lines)
        keys.add(key(trained))
    assert len(keys) == 6


def test_other_flags_are_not_part_of_the_key(trained, monkeypatch):
    before = key(trained)
    monkeypatch.setenv(
        "THEANO_FLAGS", "exception_verbosity=high,profile=True,warn.round=False,floatX=float64,device=gpu"
    )
    assert key(trained) == before


@pytest.mark.registry
@pytest.mark.xdist_group("theano")
def test_flags_that_are_edited_after_the_key_was_made_are_refused(theanorc):
    require("theano")
    engine = TheanoEngine(flags=decisive_flags())
    theanorc.write_text("[global]\noptimizer = None\n")
    with pytest.raises(EngineError, match=r"flags were edited after this run began\. Run the same command again"):
        engine.exponentials(np.ones(1, np.float32), 1)


def test_status_names_a_flag_that_differs(trained, monkeypatch):
    monkeypatch.setenv("THEANO_FLAGS", "optimizer=fast_compile")
    assert "optimizer (none) -> fast_compile" in trained.status(*ON_THEANO)["TrainCNN"]["why"]


def test_a_value_that_theano_fills_in_is_left_to_theano(theanorc):
    theanorc.write_text("[gcc]\ncxxflags = -I%(HOME)s\n")
    assert "gcc.cxxflags" not in TheanoEngine().all_flags()


def test_the_variable_overrides_the_file(monkeypatch, theanorc):
    theanorc.write_text("[global]\noptimizer = None\nopenmp = False\n")
    monkeypatch.setenv("THEANO_FLAGS", "optimizer=fast_compile")
    assert decisive_flags() == {"openmp": "False", "optimizer": "fast_compile"}


@pytest.mark.parametrize(("lines", "variable"), [("optimizer = None\n", ""), ("", "'optimizer=None")])
def test_flags_that_cannot_be_parsed_are_an_error(monkeypatch, theanorc, lines, variable):
    theanorc.write_text(lines)
    monkeypatch.setenv("THEANO_FLAGS", variable)
    with pytest.raises(SettingError, match=r"Theano.s flags cannot be parsed: .*THEANO_FLAGS"):
        decisive_flags()


def test_no_other_engine_reads_them(trained, theanorc):
    theanorc.write_text("optimizer = None\n")
    assert {row["state"] for row in trained.status().values()} == {"cached"}
