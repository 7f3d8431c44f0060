"""What is no longer needed: what counts as such, how it is listed, and that it is removed only where that is wanted."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from pipeline.progress.monitor import SILENT
from pipeline.store import garbage, results, verification
from pipeline.store.latest import point_latest
from pipeline.store.stage import Stage
from tests.small_stages import TEXT, chain


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def stages(folder):
    stages = chain(folder, "First", "Second", "Third")
    for stage in stages:
        results.make(stage, SILENT)
    return stages


def names(found):
    return [each.stage for each in found]


def use(stage):
    point_latest(stage, stage.folder / "latest", "0" * 12)


class TestWhatIsNeeded:
    def test_nothing_that_no_setting_reaches(self, stages, folder):
        assert names(garbage.unreached([folder], [], 0)) == ["First", "Second", "Third"]
        assert names(garbage.unreached([folder], stages[:2], 0)) == ["Third"]

    def test_what_latest_leads_to_with_all_that_it_was_made_from(self, stages, folder):
        use(stages[1])

        assert names(garbage.unreached([folder], [], 0)) == ["Third"]

    def test_what_it_was_made_from_in_another_folder(self, folder, tmp_path):
        data = tmp_path / "data"
        (image,) = chain(data, "Image")
        network = Stage("Network", folder, image.function, {"text": "network"}, {"image": image}, code_matters=False)
        results.make(network, SILENT)
        use(network)

        assert names(garbage.unreached([data], [], 0)) == ["Image"]
        assert garbage.unreached([data, folder], [], 0) == []

    def test_what_a_withdrawn_result_was_made_from(self, stages, folder):
        use(stages[1])
        (stages[1].path / TEXT).write_text("SECOND")
        assert len(verification.verify([folder], 1, SILENT)) == 1

        assert names(garbage.unreached([folder], [], 0)) == ["Third"]


class TestARecordThatIsLost:
    @pytest.fixture
    def lost(self, stages):
        (stages[1].path / "stage.json").unlink()
        return stages[1].path

    def test_is_wrong(self, lost, folder):
        assert verification.verify([folder], 1, SILENT) == [f"{lost}: has no record"]

    def test_leaves_what_may_go_though_it_is_reached(self, lost, stages, folder):
        use(stages[2])

        (found,) = garbage.unreached([folder], stages, 0)
        assert (found.path, found.about) == (lost, f"has no record; it holds {TEXT}")
        assert garbage.unreached([folder], stages, 1) == []

    def test_leaves_what_is_made_again(self, lost, stages, folder):
        results.make(stages[2], SILENT)

        assert results.first_missing(stages[2]) is None
        assert verification.verify([folder], 1, SILENT) == []

    def test_is_not_missed_in_what_is_in_the_making_or_somebody_elses(self, stages, folder):
        for name in (f".{stages[0].key}.tmp", ".0123456789abcdef.old", "mine"):
            (folder / "First" / name).mkdir()
        (folder / "photos" / "0123456789abcdef").mkdir(parents=True)

        assert verification.verify([folder], 1, SILENT) == []
        assert garbage.unreached([folder], stages, 0) == []

    @pytest.mark.state("two seeds")
    def test_is_told_by_the_commands(self, checkout):
        path = checkout.result("EvaluateMLP")
        (path / "stage.json").unlink()

        told = checkout.pipeline("verify", status=1)
        assert f"outputs/EvaluateMLP/{path.name}: has no record\n1 wrong. " in told
        told = checkout.pipeline("gc", "--dry-run", "--keep-days", "0", *checkout.flags())
        assert re.search(
            rf"outputs/EvaluateMLP/{path.name}\n +has no record; it holds metrics.json, predictions.h5\n1 folder,", told
        )
        checkout.run("--seed", "7")
        assert "as it was made" in checkout.pipeline("verify")


GC = ("gc", "--keep-days", "0")


def on_a_terminal(checkout, answer, *flags, meanwhile=lambda: None):
    """Answer the question of gc as a person does; return its exit status, and all that the terminal shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *GC, *checkout.flags(), *flags],
        cwd=checkout.folder,
        env=checkout.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"? [y/N] "):
        shown += os.read(ours, 1000)
    meanwhile()
    os.write(ours, answer)
    while chunk := read_on(ours):
        shown += chunk
    os.close(ours)
    return process.wait(timeout=60), shown.decode()


def read_on(terminal):
    try:
        return os.read(terminal, 1000)
    except OSError:  # Linux says so that nobody else has it open any more
        return b""


@pytest.mark.state("two seeds")
class TestCommand:
    def test_keeps_what_was_made_with_flags_and_is_in_use(self, checkout):
        checkout.pipeline(*GC, "--yes")

        assert len(checkout.results("TrainMLP")) == 1
        assert set(checkout.run("--seed", "7").values()) == {"reused"}

    def test_tells_what_made_each(self, checkout):
        checkout.run()

        listed = checkout.pipeline(*GC, "--dry-run", *checkout.flags())

        made = r"TrainMLP +\d{4}-\d\d-\d\d \d\d:\d\d +0\.\d MB +0\.0 days  outputs/TrainMLP/[0-9a-f]{16}"
        how = "network mlp, engine numba, device cpu, seed 7, epochs 1, learning_rate 0.01, .*, archive [0-9a-f]{8}"
        assert re.search(f"^{made}\n    {how}$", listed, re.MULTILINE)
        assert re.search(
            "^Report .*\n    network mlp/cnn, .*, seed 7, .*, learning_rate 0.01/0.005, ", listed, re.MULTILINE
        )

    @pytest.mark.parametrize(
        ("answer", "removed"), [(b"yes\n", True), (b"n\n", False), (b"\n", False), (b"\x04", False)]
    )
    def test_asks_first(self, checkout, answer, removed):
        checkout.run()
        there = checkout.results("TrainMLP")

        status, shown = on_a_terminal(checkout, answer)

        assert status == 0
        assert re.search(r"Remove \d+ folders?, \d\.\d MB\? \[y/N\] ", shown)
        assert ("MB, removed." if removed else "Nothing is removed.") in shown
        assert len(checkout.results("TrainMLP")) == len(there) - removed

    def test_holds_nobody_up_meanwhile_and_keeps_what_came_into_use(self, checkout):
        checkout.run()

        status, shown = on_a_terminal(checkout, b"y\n", meanwhile=lambda: checkout.run("--seed", "7"))

        assert status == 0
        assert "0 folders, 0.0 MB, removed." in shown
        assert set(checkout.run("--seed", "7").values()) == {"reused"}

    def test_asks_nobody_where_there_is_no_terminal(self, checkout):
        checkout.run()
        there = checkout.files()

        told = checkout.pipeline(*GC, *checkout.flags(), status=1)

        assert "nothing is removed, since there is no terminal to ask at. Type `python -m pipeline gc --yes`" in told
        assert checkout.files() == there
        assert len(checkout.results("TrainMLP")) == 2

    def test_asks_nothing_where_that_is_said(self, checkout):
        checkout.run()

        told = checkout.pipeline(*GC, "--yes", *checkout.flags())

        assert re.search(r"\n\d+ folders?, \d\.\d MB, removed\.\n", told)
        assert len(checkout.results("TrainMLP")) == 1
        assert set(checkout.run().values()) == {"reused"}
