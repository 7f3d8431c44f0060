"""What the store does with stages, without Luigi; `test_caching` has the same with it."""

from __future__ import annotations

import pytest

from pipeline.monitor import SILENT
from pipeline.store import results
from pipeline.store.record import Record
from pipeline.store.results import Redo
from tests.small_stages import TEXT, chain

ONE, TWO = "1" * 12, "2" * 12


@pytest.fixture
def stages(tmp_path):
    return chain(tmp_path, "First", "Second", "Third")


def text(stage):
    return (stage.path / TEXT).read_text()


def make(*stages, run=ONE):
    return [str(results.make(stage, SILENT, Redo(run=run))[0]) for stage in stages]


class TestInputs:
    def test_that_are_not_there_are_made(self, stages):
        assert make(stages[-1]) == ["computed"]
        assert text(stages[-1]) == "FirstSecondThird"
        assert results.missing(stages[-1]) is None

    @pytest.mark.parametrize("run", [ONE, TWO, ""])
    def test_that_were_altered_are_made_again(self, stages, run):
        """In the run that made them as in the next."""
        make(*stages[:2])
        (stages[0].path / TEXT).write_text("First".upper())
        (stages[1].path / TEXT).write_text("FirstSecond".upper())
        assert make(stages[2], run=run) == ["computed"]
        assert [text(stage) for stage in stages] == ["First", "FirstSecond", "FirstSecondThird"]
        assert {Record.read(stage.path).run for stage in stages} == {run}

    def test_that_were_altered_are_not_looked_at_where_nothing_is_computed(self, stages):
        make(*stages)
        (stages[0].path / TEXT).write_text("First".upper())
        assert make(*stages, run=TWO) == ["reused"] * 3
