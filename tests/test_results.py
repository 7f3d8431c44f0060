"""What the store does with stages, without Luigi; `test_caching` has the same with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.progress.monitor import SILENT
from pipeline.store import folders, garbage, results
from pipeline.store.record import Record
from pipeline.store.results import ForcedStages
from pipeline.store.verification import input_damage, verify
from tests.small_stages import TEXT, chain

ONE, TWO = "1" * 12, "2" * 12


@pytest.fixture
def stages(tmp_path):
    return chain(tmp_path / "results", "First", "Second", "Third")


def text(stage):
    return (stage.path / TEXT).read_text()


def make(*stages, run=ONE):
    return [results.make(stage, SILENT, ForcedStages(run=run))[0] for stage in stages]


class TestInputs:
    def test_that_are_not_there_are_made(self, stages):
        assert make(stages[-1]) == ["computed"]
        assert text(stages[-1]) == "FirstSecondThird"
        assert results.first_missing(stages[-1]) is None

    @pytest.mark.parametrize("run", [ONE, TWO, ""])
    def test_that_were_altered_are_made_again(self, stages, run):
        """In the run that made them as in the next."""
        make(*stages[:2])
        (stages[0].path / TEXT).write_text("First".upper())
        (stages[1].path / TEXT).write_text("FirstSecond".upper())
        assert make(stages[2], run=run) == ["computed"]
        assert [text(stage) for stage in stages] == ["First", "FirstSecond", "FirstSecondThird"]
        assert {Record.read(stage.path).run for stage in stages} == {run}

    def test_that_another_worker_has_just_withdrawn_are_damaged(self, stages):
        make(stages[0])
        record = Record.read(stages[0].path)
        (stages[0].path / TEXT).write_text("FIRST")
        record.withdraw(stages[0].path)

        assert input_damage(stages[0].path, record, ONE) == [f"{TEXT} has other content than it had"]

    def test_that_cannot_be_read_are_made_again(self, stages):
        """As where the disk is failing: reading a folder is an error, too."""
        make(*stages[:2])
        file = stages[1].path / TEXT
        file.unlink()
        file.mkdir()
        record = Record.read(stages[1].path)
        size = {TEXT: record.files[TEXT] | {"bytes": file.stat().st_size}}
        replace(record, files=size).sealed().write(stages[1].path)

        assert verify([stages[1].folder], 1, SILENT) == [f"{stages[1].path}: {TEXT} cannot be read: Is a directory"]
        assert make(stages[2]) == ["computed"]
        assert text(stages[2]) == "FirstSecondThird"

    def test_that_were_altered_are_not_looked_at_where_nothing_is_computed(self, stages):
        make(*stages)
        (stages[0].path / TEXT).write_text("First".upper())
        assert make(*stages, run=TWO) == ["reused"] * 3


class TestForcedStages:
    """Of two runs at once that force the same stages, each must see that they were made since it began."""

    def test_makes_a_result_again_once_in_a_run(self, stages):
        make(*stages)
        forced = ForcedStages(frozenset(["Second"]), TWO, results.seals(stages))
        for expected in ("computed", "reused"):
            outcomes = [results.make(stage, SILENT, forced)[0] for stage in stages]
            assert outcomes == ["reused", expected, "reused"]

    def test_takes_what_another_run_has_made_meanwhile(self, stages):
        make(*stages)
        forced = frozenset(["First", "Third"])
        ours, others = (ForcedStages(forced, run, results.seals(stages)) for run in ("3" * 12, TWO))
        for stage in stages:
            results.make(stage, SILENT, ours)
            assert results.current(stage, others)
            assert Record.read(stage.path).outcome(TWO) == "reused"

    def test_holds_a_result_that_another_run_replaces(self, stages):
        make(*stages)
        forced = frozenset(["First", "Third"])
        ours = ForcedStages(forced, TWO, results.seals(stages))
        results.make(stages[0], SILENT, ours)
        later = ForcedStages(forced, "3" * 12, results.seals(stages))
        results.make(stages[0], SILENT, later)
        for stage in stages:
            results.make(stage, SILENT, ours)
        assert results.current(stages[-1], ours)
        assert results.current(stages[-1], later)

    def test_of_a_stage_that_was_not_looked_at_when_the_run_began(self, stages):
        make(*stages)
        forced = ForcedStages(frozenset(["First"]), TWO)
        assert results.current(stages[0], forced) is None
        results.make(stages[0], SILENT, forced)
        assert results.current(stages[0], forced)


def link(path, elsewhere):
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def link_to_nothing(path, elsewhere):
    path.rename(elsewhere.with_name("moved"))
    path.symlink_to(elsewhere)


def file(path, elsewhere):
    path.rename(elsewhere)
    path.write_text("no folder")


class TestWhatIsNoFolder:
    @pytest.mark.parametrize("put", [link, link_to_nothing, file])
    def test_gives_way_to_a_result(self, stages, tmp_path, put):
        make(*stages)
        put(stages[1].path, tmp_path / "elsewhere")
        forced = ForcedStages(frozenset(["Second"]), TWO)
        assert results.make(stages[1], SILENT, forced)[0] == "computed"
        assert not stages[1].path.is_symlink()
        assert make(*stages, run=TWO) == ["reused"] * 3
        assert list(stages[1].path.parent.iterdir()) == [stages[1].path]

    def test_is_used_where_it_leads_to_a_result(self, stages, tmp_path):
        make(*stages)
        link(stages[1].path, tmp_path / "elsewhere")
        assert make(*stages, run=TWO) == ["reused"] * 3

    @pytest.fixture(params=[".tmp", ".old"])
    def left(self, request, stages):
        """What a killed process has left of the second stage."""
        make(*stages)
        left = stages[1].path.with_name(f".{stages[1].key}{request.param}")
        left.mkdir()
        return left

    @pytest.mark.parametrize("put", [link, link_to_nothing, file])
    def test_is_cleared_away_with_what_was_left_half_made(self, stages, left, tmp_path, put):
        put(left, tmp_path / "elsewhere")
        folders.clear_leftovers(left.parent)
        assert list(left.parent.iterdir()) == [stages[1].path]

    @pytest.mark.parametrize("put", [link, link_to_nothing, file])
    def test_is_in_nobodys_way_where_it_was_left_half_made(self, stages, left, tmp_path, put):
        put(left, tmp_path / "elsewhere")
        results.make(stages[1], SILENT, ForcedStages(frozenset(["Second"]), TWO))
        assert list(left.parent.iterdir()) == [stages[1].path]

    def test_leads_to_something_that_stays(self, stages, tmp_path):
        make(*stages)
        link(stages[1].path, tmp_path / "elsewhere")
        results.make(stages[1], SILENT, ForcedStages(frozenset(["Second"]), TWO))
        assert (tmp_path / "elsewhere" / TEXT).read_text() == "FirstSecond"

    def test_is_garbage_like_any_other(self, stages, tmp_path):
        make(*stages)
        link(stages[1].path, tmp_path / "elsewhere")
        found = garbage.unreached([stages[0].folder], [], 0)
        garbage.collect(found, stages[0].folder)
        assert not any(stage.path.is_symlink() or stage.path.exists() for stage in stages)
        assert (tmp_path / "elsewhere").exists()
