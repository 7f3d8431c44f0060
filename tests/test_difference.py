"""What `python -m pipeline diff` says of two results."""

from __future__ import annotations

import json
import re

import pytest


@pytest.fixture(scope="module")
def compared(states):
    """A checkout with results of two learning rates for the CNN, 0.005 and then 0.02."""
    return states.shared("two learning rates")


def keys(checkout, stage):
    """Return the keys of a stage's two results, the one of the first run first."""
    [now] = [checkout.result(stage).name]
    [before] = [path.name for path in checkout.results(stage) if path.name != now]
    return before, now


def diff(checkout, *arguments, status=0):
    return checkout.pipeline("diff", *arguments, status=status)


def parts(checkout, *arguments):
    return json.loads(diff(checkout, *arguments, "--json"))


def rewrite(folder, **changes):
    """Give a result another record, as another machine would have written it."""
    program = (
        "import json, sys; from dataclasses import replace; from pathlib import Path\n"
        "from pipeline.store.record import Record\n"
        "folder = Path(sys.argv[1]); record = Record.read(folder)\n"
        "replace(record, **json.loads(sys.argv[2])).sealed().write(folder)"
    )
    return ("-c", program, str(folder), json.dumps(changes))


class TestWhatDiffers:
    def test_a_setting_upstream(self, compared):
        before, now = keys(compared, "EvaluateCNN")
        trained = [key[:8] for key in keys(compared, "TrainCNN")]
        lines = diff(compared, before, now[:6]).splitlines()
        assert lines[:3] == [
            f"EvaluateCNN {before[:8]} -> {now[:8]}",
            "  settings  TrainCNN: learning_rate 0.005 -> 0.02",
            f"  inputs    TrainCNN {trained[0]} -> {trained[1]}, other content",
        ]
        assert lines[-1] == "  files     metrics.json, predictions.h5: not equal"

    def test_a_setting_of_the_stage_itself_and_its_validation_accuracy(self, compared):
        before, now = (f"TrainCNN/{key}" for key in keys(compared, "TrainCNN"))
        histories = [
            json.loads((compared.folder / "outputs" / name / "history.json").read_text()) for name in (before, now)
        ]
        found = parts(compared, before, now)
        assert found["stage"] == "TrainCNN"
        assert found["settings"] == ["learning_rate 0.005 -> 0.02"]
        assert (found["inputs"], found["code"], found["versions"], found["machine"]) == ([], [], [], [])
        assert found["files"] == ["film.h5", "history.json", "weights.h5"]
        accuracies = [history["epochs"][-1]["valid_accuracy"] for history in histories]
        assert found["measured"].get("valid_accuracy", [accuracies[0]] * 2) == accuracies
        assert "median of epoch_seconds" in found["measured"]

    def test_each_setting_is_said_once_with_its_stages(self, compared):
        before, now = keys(compared, "Report")
        assert parts(compared, now, before)["settings"] == ["TrainCNN: learning_rate 0.02 -> 0.005"]

    def test_nothing(self, compared):
        key = compared.result("TrainMLP").name
        assert diff(compared, key, "TrainMLP", *compared.flags()) == f"TrainMLP {key[:8]}: both are this result.\n"

    def test_code_machine_versions_and_numbers(self, checkout):
        checkout.edit("pipeline/training/evaluate.py", 'f"The accuracy of', 'f"THE accuracy of')
        old = checkout.result("EvaluateCNN").name
        checkout.run(task="EvaluateCNN")
        now = checkout.result("EvaluateCNN")
        accuracy = checkout.accuracy()
        other = {"host": "other", "versions": {"numpy": "9"}, "measured": {"accuracy": 1.5, "device_name": "GPU"}}
        checkout.python(*rewrite(now, seconds=1000, **other)).check_returncode()
        text = diff(checkout, old, now.name)
        assert "  code      code of pipeline.training.evaluate.accuracy_line changed\n" in text
        assert "  versions  " in text
        assert re.search(r" numpy \S+ -> 9\n", text)
        assert re.search(r"  machine   host \S+ -> other\n +device_name \(none\) -> GPU\n", text)
        assert re.search(rf" accuracy {accuracy:g} -> 1.5 \(\+{1.5 - accuracy:.4g}\)\n", text)
        assert re.search(r" seconds \S+ -> 1000 \(\+\S+\)\n", text)
        assert text.endswith("  files     all equal\n")

    def test_an_upstream_result_that_is_gone_is_named_all_the_same(self, checkout):
        before = checkout.result("EvaluateCNN").name
        trained = checkout.result("TrainCNN")
        checkout.run("--TrainCNN-learning-rate", "0.02", task="EvaluateCNN")
        (trained / "stage.json").unlink()
        found = parts(checkout, before, checkout.result("EvaluateCNN").name)
        assert found["settings"] == []
        assert [line.split(" ->")[0] for line in found["inputs"]] == [f"TrainCNN {trained.name[:8]}"]


class TestNames:
    def test_a_stage_is_the_result_that_the_settings_select(self, compared):
        before, now = keys(compared, "TrainCNN")
        chosen = diff(compared, now, "TrainCNN", *compared.flags())
        assert chosen.startswith(f"TrainCNN {now[:8]} -> {before[:8]}\n")

    def test_else_the_latest(self, compared):
        before, now = keys(compared, "TrainCNN")
        said = diff(compared, before, "TrainCNN", *compared.flags(), "--seed", "99")
        assert said.startswith(f"TrainCNN {before[:8]} -> {now[:8]}\n")
        assert re.search(r"TrainCNN: the settings select \w{8}, which is not there; this is its latest result.\n", said)


class TestErrors:
    def test_results_of_different_stages(self, compared):
        said = diff(compared, keys(compared, "TrainCNN")[0], keys(compared, "EvaluateCNN")[0], status=1)
        assert "are results of different stages. Type `python -m pipeline diff` with two of TrainCNN or" in said
        assert said.count("\n  EvaluateCNN/") == 2

    def test_an_unknown_key(self, compared):
        said = diff(compared, "TrainCNN/0000000", "TrainCNN", status=1)
        assert said.startswith("no result has the key 'TrainCNN/0000000'. The newest are:\n  TrainCNN/")
        assert len(said.splitlines()) == 3

    def test_an_ambiguous_key(self, checkout):
        one = checkout.result("TrainCNN")
        (one.parent / f"{one.name[:6]}0123456789").mkdir()
        said = diff(checkout, one.name[:6], one.name, status=1)
        assert f"{one.name[:6]!r} begins the keys of 2 results. Type more digits, or STAGE/KEY:\n  TrainCNN/" in said
        assert said.splitlines()[2].endswith("0123456789  (no record)")
        assert diff(checkout, one.name, one.name)
        unread = f"TrainCNN/{one.name[:6]}0123456789"
        assert f"{unread} has no record that can be read. Type `make verify`" in diff(
            checkout, unread, one.name, status=1
        )

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("abc", "'abc' is no key; expected at least 4 of its digits"), ("TrainCN", "Did you mean 'TrainCNN'?")],
    )
    def test_a_name_of_nothing(self, compared, name, expected):
        assert expected in diff(compared, name, "TrainCNN", status=1)

    def test_a_stage_without_a_result(self, compared):
        said = diff(compared, "EvaluateMLP2", "EvaluateMLP2", *compared.flags(), status=1)
        assert said == "EvaluateMLP2 has no result with these settings, nor an earlier one. Type `make pipeline`.\n"
