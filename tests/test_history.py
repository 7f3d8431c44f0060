from __future__ import annotations

import json

import pytest

from pipeline.operations import run_history

BEGINNING = {"run": "0" * 12, "root": "Pipeline", "started": "2026-01-01T00:00:00+00:00", "process": 1, "host": "here"}
END = {
    "run": "0" * 12,
    "exit": "ok",
    "seconds": 1.5,
    "stages": {"Report": "computed"},
    "accuracy": {"EvaluateMLP": 0.5},
    "keys": {"EvaluateMLP": "0123456789abcdef"},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / run_history.NAME


def read(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return run_history.read_history(path)


def test_a_run_has_what_both_of_its_lines_tell(path):
    run_history.append_line(path, BEGINNING)
    run_history.append_line(path, END)

    assert run_history.read_history(path) == [BEGINNING | END]


def test_lines_of_earlier_versions_are_read(path):
    end = {name: value for name, value in END.items() if name != "keys"}

    assert read(path, BEGINNING, end) == [BEGINNING | end]


def test_a_run_without_an_end_was_killed(path):
    run_history.append_line(path, BEGINNING)

    assert run_history.read_history(path) == [BEGINNING | {"exit": "killed"}]


@pytest.mark.parametrize(
    "damaged",
    [
        "[" * 200_000,
        '{"run":' * 200_000,
        "{",
        "7",
        "[]",
        "\x00",
        *(
            {"run": run}
            for run in ("../../x\x00", "0" * 11, "0" * 13, "G" * 12, "0" * 12 + "\n", "", 5, None, ["0" * 12])
        ),
        *({"started": moment} for moment in ("yesterday", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", 5)),
        {"root": ["Pipeline"]},
        {"process": "1"},
        {"host": None},
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_line_that_is_damaged_is_passed_over(path, damaged):
    later = BEGINNING | {"run": "1" * 12}
    line = BEGINNING | damaged if isinstance(damaged, dict) else damaged

    assert read(path, line, later) == [later | {"exit": "killed"}]


@pytest.mark.parametrize(
    "damaged",
    [
        {"exit": 5},
        {"seconds": "1"},
        {"seconds": 10**400},
        {"stages": ["Report"]},
        {"stages": {"Report": 5}},
        {"accuracy": {"EvaluateMLP": "high"}},
        {"accuracy": {"EvaluateMLP": 10**400}},
        {"accuracy": None},
        {"keys": ["EvaluateMLP"]},
        {"keys": {"EvaluateMLP": 5}},
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_end_that_is_damaged_is_passed_over(path, damaged):
    runs = read(path, BEGINNING, END | damaged)

    assert runs == [BEGINNING | {"exit": "killed"}]
    assert len(run_history.history_table(runs)) == 2


def test_nothing_is_taken_from_a_line_that_nobody_asked_for(path):
    deep = json.loads("[" * 300 + "]" * 300)

    assert read(path, BEGINNING | {"more": deep}, END) == [BEGINNING | END]


def test_settings_of_a_run_with_a_long_last_line(path):
    """A sweep has thousands of results in its last line."""
    stages = {f"TrainCNN {number:08x}": "computed" for number in range(10_000)}
    run_history.append_line(path, BEGINNING | {"settings": {"settings.seed": "7"}})
    run_history.append_line(path, END | {"stages": stages})

    assert path.stat().st_size > run_history.LAST_BYTES
    assert run_history.last_settings(path) == {"settings.seed": "7"}


def test_many_results_of_a_stage_are_counted():
    stages = {f"EvaluateMLP {number:08x}": "computed" for number in range(20)} | {"Report": "computed"}
    accuracy = dict.fromkeys(list(stages)[:20], 0.5)
    summary = END | {"stages": stages, "accuracy": accuracy}

    assert run_history.summary_lines(summary) == [
        "21 stages in 1.5 s: 21 computed",
        "  computed: 20 EvaluateMLP, Report",
    ]
    assert "0.5" not in run_history.history_table([BEGINNING | summary])[1]
