"""What is no longer needed: what counts as such, how it is listed, and that it is removed only where that is wanted."""

from __future__ import annotations

import pytest

from pipeline.monitor import SILENT
from pipeline.store import garbage, results, verification
from tests.small_stages import chain


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def stages(folder):
    stages = chain(folder, "First", "Second", "Third")
    for stage in stages:
        results.make(stage, SILENT)
    return stages


class TestARecordThatIsLost:
    @pytest.fixture
    def lost(self, stages):
        (stages[1].path / "stage.json").unlink()
        return stages[1].path

    def test_is_wrong(self, lost, folder):
        assert verification.verify([folder], SILENT) == [f"{lost}: has no record"]

    def test_leaves_what_may_go(self, lost, folder):
        assert lost in [found.path for found in garbage.unreached([folder], [], 0)]

    def test_leaves_what_is_made_again(self, lost, stages, folder):
        results.make(stages[2], SILENT)

        assert results.missing(stages[2]) is None
        assert verification.verify([folder], SILENT) == []

    def test_is_not_missed_in_what_is_in_the_making_or_somebody_elses(self, stages, folder):
        for name in (f".{stages[0].key}.tmp", ".0123456789abcdef.old", "mine"):
            (folder / "First" / name).mkdir()
        (folder / "photos" / "0123456789abcdef").mkdir(parents=True)

        assert verification.verify([folder], SILENT) == []
        assert garbage.unreached([folder], stages, 0) == []
