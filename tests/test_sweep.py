from __future__ import annotations

import csv
import json
import re
import statistics

import pytest

from pipeline.report.sweep import MOST_ROWS, Ranking, Row, Trial, about, accuracy_of, table_lines
from pipeline.store.record import FAILED_NAME, Record

RATES = "0.05,1e30"
"""The second rate makes the loss infinite in the first epoch."""
VALUES = ("--network", "mlp", "--learning-rate", RATES, "--epochs", "2,1", "--seeds", "1,2")


def sweep(checkout, *flags, **options):
    return checkout.run(*VALUES, *flags, task="Sweep", **options)


def settings_of(checkout):
    rows = json.loads((checkout.result("Sweep") / "sweep.json").read_text())["rows"]
    return [(row["settings"]["learning_rate"], row["settings"]["epochs"]) for row in rows]


@pytest.fixture(scope="module")
def swept(states, tmp_path_factory):
    """A checkout in which two workers have made a sweep, for tests that change nothing in it."""
    checkout = states.copy("converted", tmp_path_factory.mktemp("sweep") / "checkout")
    checkout.outcomes = sweep(checkout, "--workers", "2")
    checkout.table = checkout.output.partition("settings, ")[2]
    return checkout


@pytest.fixture
def copied(swept, tmp_path):
    return swept.copy(tmp_path / "checkout")


class TestTrials:
    def test_are_stages_with_keys_of_their_own(self, swept):
        assert len(swept.results("Sweep")) == 1
        trained, evaluated = (
            [name for name in swept.outcomes if name.startswith(stage)] for stage in ("TrainMLP ", "EvaluateMLP ")
        )
        assert len(trained) == len(evaluated) == 2 * 2 * 2
        assert "failed" not in swept.outcomes.values()

    def test_are_those_of_any_other_run(self, swept):
        rows = swept.status("--TrainMLP-learning-rate", "0.05", "--TrainMLP-epochs", "2", "--seed", "1")
        assert (rows["TrainMLP"]["state"], rows["EvaluateMLP"]["state"]) == ("cached", "cached")

    def test_with_more_epochs_resume(self, swept):
        records = filter(None, map(Record.read, (swept.folder / "outputs/TrainMLP").iterdir()))
        resumed = {(found.parameters["epochs"], found.measured.get("resumed_from_epoch")) for found in records}
        assert resumed == {(1, None), (2, 1)}

    def test_leave_the_links_to_the_networks_of_the_pipeline(self, swept):
        assert {"TrainMLP", "EvaluateMLP"}.isdisjoint(
            path.name for path in swept.result("Sweep").parents[1].iterdir() if path.is_symlink()
        )
        assert not (swept.folder / "outputs/latest/TrainMLP").exists()

    def test_only_those_of_a_new_value_are_made(self, copied):
        made = copied.run(*VALUES, "--learning-rate", f"{RATES},0.1", task="Sweep")
        computed = sorted(name.partition(" ")[0] for name, outcome in made.items() if outcome == "computed")
        assert computed == ["EvaluateMLP"] * 4 + ["Sweep"] + ["TrainMLP"] * 4

    def test_nothing_is_made_again_and_the_table_is_printed_again(self, copied):
        assert set(sweep(copied).values()) == {"reused"}
        assert (copied.result("Sweep") / "sweep.md").read_text() in copied.output

    def test_values_that_are_given_twice_count_once(self, swept):
        sweep(swept, "--learning-rate", "0.05,0.050", "--engines", "auto,numba", "--seeds", "1,1", "--dry-run")
        assert "2 trials: 2 cached\n" in swept.output


class TestDryRun:
    def test_lists_every_trial_with_its_key_and_state(self, swept):
        before = sorted(swept.folder.rglob("*"))
        sweep(swept, "--learning-rate", "0.05,0.1", "--epochs", "1,3", "--seeds", "1", "--dry-run")
        listed = re.findall(r"^(.+?)  +([0-9a-f]{8})  (MLP, .*)", swept.output, re.M)
        assert [(state, label) for state, _, label in listed] == [
            ("cached", "MLP, learning rate 0.05, epochs 1, seed 1"),
            ("to resume after epoch 2", "MLP, learning rate 0.05, epochs 3, seed 1"),
            ("to run", "MLP, learning rate 0.1, epochs 1, seed 1"),
            ("to resume after epoch 1", "MLP, learning rate 0.1, epochs 3, seed 1"),
        ]
        assert list(swept.folder.glob(f"outputs/TrainMLP/{listed[0][1]}*"))
        assert "4 trials: 1 cached, 2 to resume, 1 to run" in swept.output
        assert sorted(swept.folder.rglob("*")) == before

    def test_names_failed_ones(self, swept):
        sweep(swept, "--dry-run")
        assert "8 trials: 4 cached, 4 failed\n" in swept.output


class TestFailedTrial:
    """One whose loss is not finite."""

    def test_is_a_row_behind_all_others(self, swept):
        assert settings_of(swept)[2:] == [(1e30, 1), (1e30, 2)]
        assert re.search(
            r"\| 1e\+30 .* 2 of 2 failed: the loss is (nan|inf) in epoch 1, minibatch 2 *\|$", swept.table, re.M
        )

    def test_is_no_damage_and_no_garbage(self, swept):
        assert "is as it was made" in swept.pipeline("verify")
        assert "0 folders" in swept.pipeline("gc", "--dry-run", "--keep-days", "0")

    def test_is_told_by_diff(self, swept):
        trials = json.loads((swept.result("Sweep") / "sweep.json").read_text())["rows"]
        keys = [f"TrainMLP/{trials[place]['trials'][0]['key']}" for place in (0, -1)]
        assert re.search(r"^  failure   \(none\) -> the loss is", swept.pipeline("diff", *keys), re.M)

    def test_fails_any_other_run_as_ever(self, copied):
        flags = ("--TrainMLP-learning-rate", "1e30", "--seed", "1")
        assert "it failed: the loss is" in copied.status(*flags)["TrainMLP"]["why"][0]
        made = copied.run(*flags, task="EvaluateMLP", status=30)
        assert (made["TrainMLP"], made["EvaluateMLP"]) == ("not made", "not made")
        assert "Try a smaller learning rate." in copied.output

    def test_is_tried_again_by_force(self, copied):
        def runs():
            return {
                json.loads(path.read_text())["run"] for path in copied.folder.glob(f"outputs/TrainMLP/*/{FAILED_NAME}")
            }

        before = runs()
        sweep(copied, "--force", "TrainMLP")
        assert len(runs()) == 1
        assert runs().isdisjoint(before)


class TestFiles:
    def test_have_what_the_trials_have(self, swept):
        rows = json.loads((swept.result("Sweep") / "sweep.json").read_text())["rows"]
        for row in rows:
            for trial in row["trials"]:
                folder = swept.folder / "outputs/TrainMLP" / trial["key"]
                if trial["failure"]:
                    assert trial["failure"] == Record.read(folder, FAILED_NAME).failure
                    continue
                history = json.loads((folder / "history.json").read_text())
                accuracies = [epoch["valid_accuracy"] for epoch in history["epochs"]]
                assert history["trained"].items() >= {**row["settings"], "seed": trial["seed"]}.items()
                assert trial["validation_accuracy"] == accuracies[-1]
                assert trial["best_validation_accuracy"] == max(accuracies)
                assert accuracies[trial["best_epoch"] - 1] == max(accuracies)

    def test_csv_has_means_and_ranges(self, swept):
        rows = json.loads((swept.result("Sweep") / "sweep.json").read_text())["rows"]
        with (swept.result("Sweep") / "sweep.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert [float(line["learning_rate"]) for line in lines] == [rate for rate, _ in settings_of(swept)]
        accuracies = [trial["test_accuracy"] for trial in rows[0]["trials"]]
        assert float(lines[0]["test_accuracy"]) == statistics.fmean(accuracies)
        assert float(lines[0]["test_accuracy_least"]) == min(accuracies)
        assert (lines[0]["seeds"], lines[0]["failed"]) == ("1 2", "0")
        assert (lines[-1]["validation_accuracy"], lines[-1]["failed"]) == ("", "2")

    def test_figures(self, swept):
        for name in ("curves", "accuracy"):
            assert (swept.result("Sweep") / f"{name}.png").read_bytes().startswith(b"\x89PNG")
            assert "<svg" in (swept.result("Sweep") / f"{name}.svg").read_text()

    def test_report_has_a_section(self, copied):
        copied.run()
        page = (copied.folder / "outputs/report.html").read_text()
        table = re.search(r'<table id="sweep">.*?</table>', page, re.DOTALL)[0]
        assert table.count("<tr>") == 1 + 4
        assert '<figure id="sweep-curves"' in page
        assert '<figure id="sweep-accuracy"' in page


def ranking(*, failed=(), **values):
    """Return a ranking of every combination of two settings; a seed fails in the settings ``failed``."""
    rows = []
    for rate in values["rates"]:
        for epochs in values["epochs"]:
            accuracy = rate / 100 + epochs / 1000
            how = {"network": "cnn", "learning_rate": rate, "momentum": 0.9, "batch_size": 128}
            how |= {"validation_fraction": 0.2, "epochs": epochs, "engine": "numba", "device": "cpu"}
            trials = [Trial(seed, "0" * 16, accuracy, accuracy / 2, accuracy, epochs, 1.0) for seed in (1, 2)]
            if (rate, epochs) in failed:
                trials[1] = Trial(2, "0" * 16, failure="the loss is nan in epoch 1, with learning rate 9: and so on")
            rows.append(Row(how, trials))
    return Ranking({"title": "CIFAR-10"}, sorted(rows, key=lambda row: row.rank), [])


class TestRanking:
    def test_settings_of_which_a_seed_failed_come_last(self):
        found = ranking(rates=[0.1, 0.2], epochs=[5, 50], failed=[(0.2, 50)])
        header, *lines = table_lines(found)
        assert header[:3] == ["learning rate", "epochs", "seeds"]
        assert [line[:2] for line in lines] == [["0.1", "50"], ["0.2", "5"], ["0.1", "5"], ["0.2", "50"]]
        assert lines[-1][-1] == "1 of 2 failed: the loss is nan in epoch 1"
        assert about(found).startswith(
            "4 settings, 8 trials on CIFAR-10; the same for all: network cnn, momentum 0.9, "
        )

    def test_a_long_table_has_the_best_rows(self):
        found = ranking(rates=[0.1 * number for number in range(1, 21)], epochs=range(1, 11))
        assert len(table_lines(found)) == 1 + MOST_ROWS

    @pytest.mark.parametrize(
        ("rates", "epochs", "labels"),
        [
            ([0.1, 0.2], [5], ["validation", "test"]),
            ([0.01, 0.1, 1.0], [5, 50], ["epochs 5", "epochs 50"]),
        ],
    )
    def test_accuracy_against_one_or_two_settings(self, rates, epochs, labels):
        (axes,) = accuracy_of(ranking(rates=rates, epochs=epochs)).axes
        assert axes.get_legend_handles_labels()[1] == labels
        assert axes.get_xlabel() == "learning rate"

    def test_accuracy_against_many_values_of_two_settings_is_a_grid(self):
        rates = [0.1 * number for number in range(1, 9)]
        (axes,) = accuracy_of(ranking(rates=rates, epochs=range(1, 8))).axes
        assert len(axes.texts) == 8 * 7

    def test_no_figure_of_one_setting(self):
        assert accuracy_of(ranking(rates=[0.1], epochs=[5])) is None
