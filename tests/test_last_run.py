"""What a command says where the last run had settings that it has not."""

from __future__ import annotations

import json
import sys

import pytest

from pipeline.operations import run_history
from tests.checkout import QUICK

LINE = "The last run had "


@pytest.fixture(scope="module")
def ran(states, tmp_path_factory):
    """A checkout in which one short run has begun, with settings of its own."""
    checkout = states.copy("new", tmp_path_factory.mktemp("last") / "checkout")
    checkout.run("--seed", "7", task="GrayscaleFlat")
    return checkout


@pytest.fixture
def past(ran):
    """The history of that run, put back after the test."""
    path = ran.folder / "outputs" / run_history.NAME
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


def said(checkout, *arguments, program="pipeline", status=0):
    """Return the lines that a command says of the last run, all of which are on standard error."""
    done = checkout.call(sys.executable, "-m", program, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert LINE not in done.stdout
    return [line for line in done.stderr.splitlines() if LINE in line]


def with_settings(path, settings, **others):
    """Have the last run have had other settings."""
    line = json.loads(next(line for line in path.read_bytes().splitlines() if b'"root"' in line))
    run_history.append_line(path, line | {"run": "f" * 12, "settings": settings} | others)


class TestWhatIsSaid:
    def test_make_s_variables_where_there_are_some(self, ran, past):
        with_settings(past, {"DownloadCIFAR.archive": "x y.tar.gz"})
        assert said(ran, "status") == [
            "The last run had ARCHIVE='x y.tar.gz'; repeat it, or keep it with `make configure ARCHIVE='x y.tar.gz'`."
        ]

    def test_one_variable_for_several_settings(self, ran, past):
        rates = {f"{task}.learning_rate": "0.02" for task in ("Train", "TrainMLP", "TrainCNN")}
        with_settings(past, rates)
        assert said(ran, "status") == ["The last run had LR=0.02; repeat it, or keep it with `make configure LR=0.02`."]

    def test_nothing_of_a_url_whose_query_is_not_shown(self, ran, past):
        with_settings(past, {"DownloadCIFAR.sources": "https://host/a.tar.gz?..."})
        assert said(ran, "status") == []

    def test_flags_where_there_are_none(self, ran, past):
        with_settings(past, {"settings.seed": "7", "TrainCNN.learning_rate": "0.02", "TrainCNN.momentum": "0.8"})
        assert said(ran, "status") == [
            "The last run had SEED=7 --TrainCNN-learning-rate=0.02 --TrainCNN-momentum=0.8; repeat them, or keep them "
            "with `make configure SEED=7 ARGS='--TrainCNN-learning-rate=0.02 --TrainCNN-momentum=0.8'`."
        ]

    def test_the_demo(self, ran):
        path = ran.folder / "outputs" / "demo" / run_history.NAME
        beginning = json.loads((ran.folder / "outputs" / run_history.NAME).read_bytes().splitlines()[1])
        digits = {"DownloadCIFAR.archive": ".cache/digits.tar.gz", "ConvertToHDF5.title": "scikit-learn's digits"}
        run_history.append_line(path, beginning | {"settings": {"settings.data": "demo", **digits}})

        assert said(ran, "status", "--data", "demo") == [
            "The last run had DEMO=1; repeat it, or keep it with `make configure DEMO=1`."
        ]

    def test_other_data(self, ran):
        path = ran.folder / "outputs" / "flowers" / run_history.NAME
        beginning = json.loads((ran.folder / "outputs" / run_history.NAME).read_bytes().splitlines()[1])
        run_history.append_line(path, beginning | {"settings": {"settings.data": "flowers", "settings.seed": "3"}})

        assert said(ran, "status", "--data", "flowers") == [
            "The last run had SEED=3; repeat it, or keep it with `make configure SEED=3 DATA=flowers`."
        ]


class TestWhen:
    def test_a_run_says_it_before_anything_else(self, ran, past):
        ran.run("--workers", "2", task="GrayscaleFlat")
        assert ran.output.startswith("The last run had SEED=7; repeat it, or keep it with `make configure SEED=7`.\n")
        assert ran.output.count(LINE) == 1

    def test_equal_settings(self, ran, past):
        assert said(ran, "GrayscaleFlat", *ran.flags(), "--seed", "7", program="tasks") == []
        assert said(ran, "status", *ran.flags(), "--seed", "7", "--threads", "2") == []

    def test_a_setting_that_the_command_gives_otherwise(self, ran, past):
        assert said(ran, "status", *ran.flags(), "--seed", "9") == []
        assert said(ran, "GrayscaleFlat", *ran.flags(), "--seed", "9", program="tasks") == []

    def test_more_settings_than_the_last_run_had(self, ran, past):
        assert said(ran, "status", *ran.flags(), "--seed", "7", "--TrainCNN-momentum", "0.5") == []

    def test_the_same_archive_by_another_path(self, ran, past):
        relative = ("--DownloadCIFAR-archive", "archive/cifar-10-python.tar.gz", *QUICK, "--seed", "7")
        assert said(ran, "status", *relative) == []

    def test_commands_that_look_at_no_stages(self, ran, past):
        assert said(ran, "history") == []
        assert said(ran, "verify") == []

    @pytest.mark.parametrize("command", [("gc", "--dry-run"), ("schedule", "--every", "daily", "--dry-run")])
    def test_commands_whose_outcome_depends_on_settings(self, ran, past, command):
        with_settings(past, {"settings.seed": "9"})
        done = ran.call(sys.executable, "-m", "pipeline", *command)
        assert done.stderr.startswith("The last run had SEED=9;")

    def test_not_where_a_program_reads(self, ran, past):
        assert said(ran, "status", "--json") == []

    def test_not_in_a_scheduled_run(self, ran, past):
        unreachable = ("--DownloadCIFAR-sources", "file:///nowhere", "--DownloadCIFAR-attempts", "1")
        assert said(ran, "--data", "none", *unreachable, program="tasks.scheduled", status=30) == []
        with_settings(past, {"settings.seed": "9"})
        done = ran.call(sys.executable, "-m", "tasks.scheduled", *unreachable)
        assert done.returncode == 30
        assert LINE not in done.stderr + (ran.folder / "outputs/logs/scheduled.log").read_text()

    def test_seeds_that_only_a_comparison_has(self, ran, past):
        with_settings(past, {"Compare.seeds": "1,2,3"}, root="Compare")
        assert said(ran, "status") == []


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\xff\xfe",
            b"{" * 100_000,
            b"[" * 100_000,
            b'{"root": 5, "settings": []}\n',
            b"null\n",
            b"\n" * 100_000,
        ],
        ids=lambda content: str(content[:12]),
    )
    def test_a_history_that_makes_no_sense(self, ran, past, content):
        past.write_bytes(content)
        assert said(ran, "GrayscaleFlat", *ran.flags(), program="tasks") == []

    @pytest.mark.parametrize("settings", [5, ["seed"], {"settings.seed": 5}, None, {"settings.seed": None}])
    def test_settings_that_make_no_sense_are_passed_over_with_their_run(self, ran, past, settings):
        with_settings(past, {"settings.seed": "9"})
        with_settings(past, settings, run="e" * 12)
        assert said(ran, "status", *ran.flags()) == [
            "The last run had SEED=9; repeat it, or keep it with `make configure SEED=9`."
        ]

    @pytest.mark.parametrize("name", ["nothing", "NoSuch.setting", "settings.gone", ".", "Train."])
    def test_a_setting_of_another_version(self, ran, past, name):
        with_settings(past, {name: "9", "settings.seed": "9"})
        assert len(said(ran, "status", *ran.flags())) == 1

    def test_an_earlier_version_s_history(self, ran, past):
        line = json.loads(past.read_bytes().splitlines()[1])
        del line["settings"]
        past.write_text(json.dumps(line))
        assert said(ran, "status") == []
        assert "settings" not in ran.history()[0]

    def test_the_end_of_a_run_may_be_long(self, ran, past):
        with_settings(past, {"settings.seed": "9"})
        stages = {f"TrainCNN {number:08x}": "computed" for number in range(1000)}  # of a comparison with many seeds
        end = {"run": "f" * 12, "exit": "ok", "seconds": 1.0, "stages": stages, "accuracy": {}}
        run_history.append_line(past, end)
        assert said(ran, "status", *ran.flags())[0].startswith("The last run had SEED=9;")

    def test_a_long_one_is_read_from_its_end(self, ran, past):
        lines = past.read_bytes()
        past.write_bytes(lines * 2000)
        with_settings(past, {"settings.seed": "9"})
        assert said(ran, "status", *ran.flags())[0].startswith("The last run had SEED=9;")
