"""What runs again after which change: the promise of the cache, a row at a time, kept by the real luigi."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.checkout import LONG, STAGES, Checkout, small_archive

DATA = ["DownloadCIFAR", "ConvertToHDF5", "GrayscaleFlat", "Grayscale2D"]
MLP = ["TrainMLP", "EvaluateMLP", "HistoryMLP"]
CNN = ["TrainCNN", "EvaluateCNN", "HistoryCNN"]
HISTORIES = ["HistoryMLP", "HistoryCNN"]
LEARNING = [*MLP, *CNN, "Report"]


@dataclass
class Row:
    """A change, and the stages that are then computed or adopted; the others are used as they are."""

    change: Callable[[Checkout], object]
    computed: list[str]
    adopted: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def edit(name, old, new):
    return lambda checkout: checkout.edit(name, old, new)


def nothing(_):
    pass


def another_archive(checkout):
    small_archive(checkout.archive, seed=1)


def touch_archive(checkout):
    os.utime(checkout.archive, (1, 1))


def move_archive(checkout):
    checkout.archive = checkout.archive.rename(checkout.folder / "moved.tar.gz")


def delete(stage, name):
    return lambda checkout: (checkout.result(stage) / name).unlink()


def truncate(stage, name):
    return lambda checkout: os.truncate(checkout.result(stage) / name, 1000)


def reformat(checkout):
    checkout.edit("pipeline/data/grayscale.py", "from pipeline.errors import DatasetError\n", "")
    checkout.edit(
        "pipeline/data/grayscale.py",
        "import numpy as np\n",
        "from pipeline.errors import DatasetError\nimport numpy as np\n",
    )
    checkout.edit("pipeline/data/grayscale.py", '"""Convert color', '"""Another docstring.\n\nConvert color')
    checkout.edit("pipeline/data/grayscale.py", "    gray -= _HALF\n", "    gray  -=  (_HALF)  # half of white\n")


TABLE = {
    "nothing": Row(nothing, []),
    "a CNN hyperparameter in luigi.cfg": Row(
        lambda checkout: checkout.set("TrainCNN", learning_rate="0.02"),
        [*CNN, "Report"],
    ),
    "a CNN hyperparameter on the command line": Row(
        nothing, [*CNN, "Report"], flags=("--TrainCNN-learning-rate", "0.02")
    ),
    "the CNN's declaration": Row(
        edit("pipeline/networks/declared.py", "conv1_num_filters=16", "conv1_num_filters=8"), [*CNN, "Report"]
    ),
    "the grayscale module, other bytes come out": Row(
        edit("pipeline/data/grayscale.py", "gray /= _WHITE", "gray /= 2 * _WHITE"),
        ["GrayscaleFlat", "Grayscale2D", *LEARNING],
    ),
    "the grayscale module, the same bytes come out": Row(
        edit("pipeline/data/grayscale.py", "gray -= _HALF", "gray = gray - _HALF"),
        ["GrayscaleFlat", "Grayscale2D"],
        adopted=tuple(LEARNING),
    ),
    "a comment, a docstring, formatting, the order of imports": Row(reformat, []),
    "a helper in another module, two imports deep": Row(
        edit("pipeline/networks/layers.py", 'linear = "linear"', 'linear = "linear"\n    identity = "linear"'),
        [stage for stage in LEARNING if stage not in HISTORIES],
        adopted=tuple(HISTORIES),
    ),
    "what writes the TensorBoard file": Row(
        edit("pipeline/report/history_files.py", "return remainder ^ 0xFFFFFFFF", "return 0xFFFFFFFF ^ remainder"),
        HISTORIES,
    ),
    "the report's code": Row(edit("pipeline/report/examples.py", "MAX_EXAMPLES = 10", "MAX_EXAMPLES = 5"), ["Report"]),
    "the report's style": Row(edit("pipeline/report/style.css", "max-width: 62rem", "max-width: 60rem"), ["Report"]),
    "the report's script": Row(
        edit("pipeline/report/javascript/try-it/drawing-board.js", "STROKE = 24", "STROKE = 20"), ["Report"]
    ),
    "the archive's content": Row(another_archive, STAGES),
    "the archive touched": Row(touch_archive, []),
    "the archive moved": Row(move_archive, []),
    "a file deleted": Row(delete("GrayscaleFlat", "grayscale.h5"), ["GrayscaleFlat"]),
    "a file truncated": Row(truncate("TrainCNN", "weights.h5"), ["TrainCNN"]),
    "the seed": Row(nothing, LEARNING, flags=("--seed", "7")),
    "the engine": Row(nothing, LEARNING, flags=("--engine", "torch")),
    "workers, threads, log settings": Row(
        nothing, [], flags=("--workers", "2", "--threads", "2", "--log-level", "INFO")
    ),
    "a stage that is forced": Row(nothing, ["TrainCNN"], flags=("--force", "TrainCNN")),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_runs_again(checkout, name):
    row = TABLE[name]
    if "torch" in row.flags:
        pytest.importorskip("torch")
    row.change(checkout)
    outcomes = checkout.run(*row.flags)
    expected = dict.fromkeys(STAGES, "reused")
    expected |= dict.fromkeys(row.computed, "computed") | dict.fromkeys(row.adopted, "adopted")
    assert outcomes == expected
    again = checkout.run(*(flag for flag in row.flags if flag not in ("--force", "TrainCNN")))
    assert set(again.values()) == {"reused"}
    assert checkout.leftovers() == []


def append(name, text):
    return lambda checkout: (checkout.folder / name).write_text((checkout.folder / name).read_text() + text)


def unused_functions(checkout):
    """Add a function to each module that a training reaches."""
    code = json.loads((checkout.result("TrainCNN") / "stage.json").read_text())["code"]
    modules = {name.rpartition(".")[0] for name in code} & {
        ".".join(path.relative_to(checkout.folder).with_suffix("").parts)
        for path in (checkout.folder / "pipeline").rglob("*.py")
    }
    assert len(modules) > 10
    for module in modules:
        append(f"{module.replace('.', '/')}.py", "\n\ndef added(x=1):\n    return unused\n")(checkout)


def messages(checkout):
    checkout.edit("pipeline/engines/devices.py", "; expected auto, {", "; expected one of auto, {")
    checkout.edit("pipeline/training/train.py", "the weights have left the range", "weights are beyond the range")
    checkout.edit("pipeline/training/examples.py", "the network takes", "the network expects")


def annotations(checkout):
    checkout.edit("pipeline/training/train.py", "monitor: Monitor = SILENT", "monitor: object = SILENT")
    checkout.edit("pipeline/training/history.py", "train_loss: float", "train_loss: int")
    checkout.edit("pipeline/engines/numba/engine.py", "def validate(self) -> Validation", "def validate(self)")


TRAINED = "pipeline/training/train.py"


@dataclass
class Edit:
    """An edit of the code, whether the networks then train again, and what the code was before it."""

    change: Callable[[Checkout], object]
    trains: bool
    before: Callable[[Checkout], object] = nothing


EDITS = {
    "an unused function in each module": Edit(unused_functions, False),
    "messages of errors": Edit(messages, False),
    "annotations": Edit(annotations, False),
    "the TensorBoard writer": Edit(
        edit("pipeline/report/history_files.py", 'b"brain.Event:2"', 'b"brain.Event:3"'), False
    ),
    "another engine's module": Edit(edit("pipeline/engines/torch/engine.py", '"cpu": 250', '"cpu": 251'), False),
    "Theano's environment": Edit(append("pipeline/engines/theano/environment.py", "\nCACHE = PROJECT\n"), False),
    "a helper of a helper": Edit(edit("pipeline/training/examples.py", "round(1 / v", "int(1 / v"), True),
    "a constant": Edit(edit("pipeline/engines/numba/updates.py", "SHARES = 16", "SHARES = 8"), True),
    "a kernel": Edit(edit("pipeline/engines/numba/dense.py", "eight_rows(", "eight_rows(*(), "), True),
    "a default argument": Edit(edit(TRAINED, "checkpoints: Path | None = None", "checkpoints: Path = Path()"), True),
    "a base class": Edit(
        edit("pipeline/networks/layers.py", "class Layer(ABC):", "class Layer(ABC):\n    rank = 1"), True
    ),
    "a decorator": Edit(
        edit("pipeline/training/history.py", "@dataclass(frozen=True)", "@dataclass(frozen=True, order=True)"), True
    ),
    "a method": Edit(
        edit("pipeline/engines/numba/engine.py", "Validation(float(loss)", "Validation(1 - float(loss)"), True
    ),
    "a name imported under another name": Edit(
        edit("pipeline/training/history.py", "return max(history", "return min(history"),
        True,
        before=lambda checkout: (
            checkout.edit(TRAINED, " best_epoch,", " best_epoch as best,"),
            checkout.edit(TRAINED, "= best_epoch(", "= best("),
        ),
    ),
    "a module passed as a value": Edit(
        append("pipeline/training/checkpoint.py", "\n\ndef unused():\n    pass\n"),
        True,
        before=edit(
            TRAINED,
            "    start = read_",
            "    from pipeline.training import checkpoint as it\n\n    vars(it)\n    start = read_",
        ),
    ),
}


@pytest.fixture(scope="module")
def shared(states, tmp_path_factory):
    return states.copy("trained", tmp_path_factory.mktemp("edits") / "checkout")


@pytest.fixture
def edited(shared):
    """Return a checkout whose code becomes again what it was when the test is over."""
    code = {path: path.read_bytes() for path in (shared.folder / "pipeline").rglob("*.py")}
    yield shared
    for path, source in code.items():
        if path.read_bytes() != source:
            path.write_bytes(source)


def keys(checkout):
    return {stage: row["key"] for stage, row in checkout.status().items()}


class TestEdits:
    """Which edits of the code train networks again: a row for each kind of edit."""

    @pytest.fixture(scope="class")
    @classmethod
    def keys_without_edits(cls, shared):
        return keys(shared)

    @pytest.mark.parametrize("name", EDITS)
    def test_trains_again(self, edited, keys_without_edits, name):
        row = EDITS[name]
        row.before(edited)
        before = keys_without_edits if row.before is nothing else keys(edited)
        row.change(edited)
        after = keys(edited)
        trained = {"TrainMLP", "TrainCNN"} if row.trains else set()
        changed = {stage for stage in STAGES if before[stage] != after[stage]}
        assert changed & {"TrainMLP", "TrainCNN"} == trained
        assert changed <= set(LEARNING)
        assert changed or name != "the TensorBoard writer"


class TestNothingToDo:
    def test_imports_nothing_heavy(self, checkout):
        process = subprocess.run(
            [sys.executable, "-X", "importtime", *checkout.command("Pipeline", *checkout.flags())[1:]],
            cwd=checkout.folder,
            env=checkout.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
        assert "tasks.stages" in imported
        assert not imported & {"numpy", "h5py", "matplotlib", "torch", "sklearn", "numba", "theano"}
        # urllib3 itself is imported by Luigi where requests is installed, as in the environment of the tests
        assert not imported & {"prometheus_client", "pipeline.web.connection"}

    @pytest.mark.state("two learning rates")
    def test_going_back_restores_at_once(self, checkout, trained):
        before = trained.result("EvaluateCNN").name
        assert checkout.result("EvaluateCNN").name != before
        assert set(checkout.run().values()) == {"reused"}
        assert checkout.result("EvaluateCNN").name == before

    def test_an_archive_that_is_replaced_in_place_with_its_size_and_time_is_another(self, checkout):
        before, status = checkout.result("DownloadCIFAR"), checkout.archive.stat()
        checkout.run(task="DownloadCIFAR")
        checkout.archive.write_bytes(b"x" * status.st_size)
        os.utime(checkout.archive, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert checkout.run(task="DownloadCIFAR") == {"DownloadCIFAR": "computed"}
        assert checkout.result("DownloadCIFAR") != before

    def test_damage_to_what_only_saves_time_costs_only_time(self, checkout):
        for path in (checkout.folder / ".cache").glob("*.json"):
            path.write_text(re.sub("[0-9a-f]{64}", "0" * 64, path.read_text()))
        assert set(checkout.run().values()) == {"reused"}
        for path in (checkout.folder / ".cache").glob("*.json"):
            path.write_text("[" * 200_000)
        assert set(checkout.run().values()) == {"reused"}


def alter(checkout, stage, name):
    """Flip a bit of an image or a weight: sizes, and what HDF5 says of itself, stay as they are."""
    path = checkout.result(stage) / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


class TestDamagedInput:
    @pytest.mark.parametrize(
        ("damaged", "forced", "workers"),
        [
            ({"GrayscaleFlat": "grayscale.h5"}, ["TrainMLP", "EvaluateMLP"], "1"),
            ({"ConvertToHDF5": "images.h5"}, ["GrayscaleFlat", "Grayscale2D"], "2"),
            ({"DownloadCIFAR": "cifar-10-python.tar.gz", "ConvertToHDF5": "images.h5"}, ["GrayscaleFlat"], "1"),
            ({"TrainMLP": "weights.h5", "ConvertToHDF5": "images.h5"}, ["Report"], "2"),
        ],
    )
    def test_is_made_again_before_anything_is_made_of_it(self, checkout, trained, damaged, forced, workers):
        for stage, name in damaged.items():
            alter(checkout, stage, name)
        outcomes = checkout.run("--force", ",".join(forced), "--workers", workers)
        assert {stage for stage, outcome in outcomes.items() if outcome == "computed"} == {*damaged, *forced}
        assert "has other content than it had" in checkout.output
        assert "Traceback" not in checkout.output
        assert checkout.files() == trained.files()
        assert checkout.leftovers() == []
        assert "as it was made" in checkout.pipeline("verify")

    def test_is_not_adopted(self, checkout, trained):
        alter(checkout, "GrayscaleFlat", "grayscale.h5")
        alter(checkout, "TrainMLP", "weights.h5")
        checkout.edit("pipeline/data/grayscale.py", "gray -= _HALF", "gray = gray - _HALF")
        outcomes = checkout.run()
        assert outcomes["TrainMLP"] == "computed"
        assert outcomes["EvaluateMLP"] == outcomes["TrainCNN"] == "adopted"
        assert checkout.files() == trained.files()

    def test_that_cannot_be_made_again_is_told(self, checkout):
        alter(checkout, "DownloadCIFAR", "cifar-10-python.tar.gz")
        checkout.edit(
            "pipeline/data/download.py",
            "    copy = output /",
            "    raise DownloadError('no archive')\n    copy = output /",
        )
        checkout.run("--force", "ConvertToHDF5", status=30)
        assert "no archive" in checkout.output
        assert "Traceback" not in checkout.output


class TestVerify:
    def test_finds_and_names_one_altered_byte(self, checkout):
        assert "as it was made" in checkout.pipeline("verify")
        alter(checkout, "GrayscaleFlat", "grayscale.h5")
        printed = checkout.pipeline("verify", status=1)
        assert "GrayscaleFlat" in printed
        assert "grayscale.h5 has other content" in printed
        assert checkout.status()["GrayscaleFlat"]["why"] == ["grayscale.h5 has other content than it had"]
        outcomes = checkout.run()
        assert [name for name, outcome in outcomes.items() if outcome != "reused"] == ["GrayscaleFlat"]
        assert "as it was made" in checkout.pipeline("verify")

    def test_finds_an_altered_record(self, checkout):
        path = checkout.result("TrainMLP") / "stage.json"
        path.write_text(path.read_text().replace('"seconds": ', '"seconds": 1'))
        assert "stage.json has other content" in checkout.pipeline("verify", status=1)


class TestStatus:
    def test_tells_what_is_cached(self, checkout):
        rows = checkout.status()
        assert list(rows) == STAGES
        assert {row["state"] for row in rows.values()} == {"cached"}
        assert rows["TrainCNN"]["size"] > 400_000
        assert rows["TrainCNN"]["seconds"] > 0

    def test_explains_a_changed_parameter(self, checkout):
        rows = checkout.status("--TrainCNN-learning-rate", "0.02")
        assert rows["TrainCNN"]["why"] == ["learning_rate 0.005 -> 0.02"]
        assert rows["EvaluateCNN"]["why"] == ["input TrainCNN changed"]
        assert rows["TrainMLP"]["state"] == "cached"

    def test_explains_changed_code(self, checkout):
        checkout.edit("pipeline/data/grayscale.py", "gray -= _HALF", "gray = gray - _HALF")
        rows = checkout.status()
        assert rows["GrayscaleFlat"]["why"] == ["code of pipeline.data.grayscale.grayscale changed"]
        assert rows["TrainMLP"]["why"] == ["input GrayscaleFlat changed"]

    def test_compares_with_the_nearest_result_not_with_the_newest(self, checkout):
        edit = ("pipeline/training/evaluate.py", "(predicted == labels)", "(labels == predicted)")
        checkout.edit(*edit)
        checkout.run()
        checkout.edit(edit[0], edit[2], edit[1])
        assert {row["state"] for row in checkout.status().values()} == {"cached"}
        rows = checkout.status("--TrainCNN-learning-rate", "0.02")
        assert rows["TrainCNN"]["why"] == ["learning_rate 0.005 -> 0.02"]
        assert rows["EvaluateCNN"]["why"] == ["input TrainCNN changed"]

    def test_does_not_call_a_cached_input_changed(self, checkout):
        checkout.run("--TrainCNN-learning-rate", "0.02", task="TrainCNN")
        rows = checkout.status("--TrainCNN-learning-rate", "0.02")
        assert rows["TrainCNN"]["state"] == "cached"
        assert rows["EvaluateCNN"]["why"] == [f"not yet run with TrainCNN {rows['TrainCNN']['key'][:8]}"]

    def test_folds_long_lists_and_unfolds_them(self, checkout):
        pytest.importorskip("torch")
        flags = (*checkout.flags(), "--engine", "torch")
        why = checkout.status(*flags)["TrainCNN"]["why"]
        definitions = [reason for reason in why if reason.startswith("code of ")]
        assert len(definitions) > 10
        [line] = [line for line in checkout.pipeline("status", *flags).splitlines() if line.startswith("TrainCNN")]
        assert line.endswith(f"engine numba -> torch; precision (none) -> float32 (+{len(definitions)} definitions)")
        done = checkout.call(sys.executable, "-m", "pipeline", "status", "--why", "TrainCNN", *flags)
        key, *lines = done.stdout.splitlines()
        [report] = [line for line in checkout.pipeline("status", *flags).splitlines() if line.startswith("Report ")]
        assert report.endswith("  input TrainMLP changed (+3 inputs)")
        assert key.endswith(": to run")
        assert [line.strip() for line in lines] == why

    def test_refuses_to_explain_what_is_no_stage(self, checkout):
        printed = checkout.pipeline("status", "--why", "TrainCNM", *checkout.flags(), status=1)
        assert "Did you mean 'TrainCNN'?" in printed

    def test_explains_what_never_ran(self, checkout):
        shutil.rmtree(checkout.folder / "outputs")
        assert checkout.status()["TrainCNN"]["why"] == ["never run"]

    def test_tells_who_is_at_work(self, checkout):
        process = checkout.start(*LONG)
        try:
            deadline = time.monotonic() + 60
            while (row := checkout.status(*LONG)["TrainMLP"])["state"] != "running":
                assert time.monotonic() < deadline, row
            assert row["why"] == [f"by process {process.pid} on {os.uname().nodename}"]
        finally:
            process.kill()
            process.communicate()


class TestVersions:
    @pytest.fixture
    def newer_h5py(self, checkout, tmp_path):
        """Let the metadata say, as after an upgrade, that another h5py is installed."""
        folder = tmp_path / "site" / "h5py-99.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: h5py\nVersion: 99.0\n")
        checkout.environment = lambda **extra: (
            Checkout.environment(checkout) | {"PYTHONPATH": f"{checkout.folder}{os.pathsep}{folder.parent}"} | extra
        )

    def test_change_nothing_by_themselves_but_are_told(self, checkout, newer_h5py):
        notes = checkout.status()["GrayscaleFlat"]["notes"]
        assert len(notes) == 1
        assert notes[0].startswith("made with h5py 3")
        assert notes[0].endswith(", now 99.0")
        assert set(checkout.run().values()) == {"reused"}

    def test_are_part_of_the_key_where_that_is_set(self, checkout, newer_h5py):
        outcomes = checkout.run("--versions-in-key", "true")
        assert outcomes["GrayscaleFlat"] == outcomes["TrainCNN"] == "computed"


@pytest.mark.state("two seeds")
def test_results_of_several_seeds_stand_side_by_side(checkout):
    checkout.run("--seed", "8", task="TrainMLP")
    assert len(checkout.results("TrainMLP")) == 3
    assert len(checkout.results("GrayscaleFlat")) == 1


def test_a_stage_that_is_forced_must_exist(checkout):
    checkout.run("--force", "TrainCNM", status=40)
    assert "Did you mean 'TrainCNN'?" in checkout.output


class TestGarbage:
    @pytest.mark.state("two learning rates")
    def test_lists_then_removes_what_no_setting_reaches(self, checkout):
        new = checkout.result("TrainCNN")
        checkout.run()
        old = checkout.result("TrainCNN")
        flags = ["gc", "--keep-days", "0", *checkout.flags()]
        assert str(new.name) in checkout.pipeline(*flags, "--dry-run")
        assert new.exists()
        checkout.pipeline(*flags, "--yes")
        assert not new.exists()
        assert old.exists()
        assert set(checkout.run().values()) == {"reused"}

    @pytest.mark.state("two seeds")
    def test_keeps_what_is_young(self, checkout):
        checkout.run()
        assert checkout.pipeline("gc", "--keep-days", "1", *checkout.flags()).startswith("0 folders")

    def test_keeps_what_a_run_under_way_needs(self, checkout):
        flags = ("--ConvertToHDF5-title", "other", *LONG)
        process = checkout.start(*flags, task="EvaluateCNN")
        try:
            deadline = time.monotonic() + 60
            while checkout.status(*flags)["TrainCNN"]["state"] != "running":
                assert time.monotonic() < deadline
            checkout.run()  # which `latest` leads to from now on
            needed = checkout.status(*flags)["Grayscale2D"]["path"]
            assert needed not in checkout.pipeline("gc", "--keep-days", "0", "--dry-run", *checkout.flags())
        finally:
            process.kill()
            process.communicate()
        assert needed in checkout.pipeline("gc", "--keep-days", "0", "--dry-run", *checkout.flags())

    def test_keeps_what_a_run_with_another_outputs_folder_needs(self, checkout):
        flags = ("--outputs-dir", "elsewhere", "--ConvertToHDF5-title", "other", *LONG)
        process = checkout.start(*flags, task="EvaluateCNN")
        try:
            deadline = time.monotonic() + 60
            while checkout.status(*flags)["TrainCNN"]["state"] != "running":
                assert time.monotonic() < deadline
            assert checkout.pipeline("gc", "--keep-days", "0", "--dry-run", *checkout.flags()).startswith("0 folders")
        finally:
            process.kill()
            process.communicate()

    def test_leaves_alone_what_is_no_result(self, checkout):
        """The demo has folders of its own inside of these; people put things there, too."""
        demo = ("--data-dir", "data/demo", "--outputs-dir", "outputs/demo")
        checkout.run(*demo)
        photo = checkout.folder / "data" / "mine" / "photos" / "cat.png"
        photo.parent.mkdir(parents=True)
        photo.touch()
        assert "as it was made" in checkout.pipeline("verify")
        assert checkout.pipeline("gc", "--keep-days", "0", *checkout.flags()).startswith("0 folders")
        assert photo.exists()
        checkout.run(*demo)
        assert "11 reused" in checkout.output


class TestFaults:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--seed", "abc"), "settings.seed is 'abc'; expected a whole number"),
            (("--TrainCNN-epochs", "1.5"), "TrainCNN.epochs is '1.5'; expected a whole number"),
            (("--TrainCNN-epochs", "0"), "epochs is 0; expected a whole number from 1"),
            (("--TrainCNN-learning-rate", "nan"), "learning_rate is nan; expected a number above 0"),
            (("--engine", "torhc"), "Did you mean 'torch'?"),
            (("--DownloadCIFAR-archive", "nowhere"), "there is no archive at nowhere"),
        ],
    )
    def test_a_wrong_setting_ends_the_run_with_a_message(self, checkout, flags, message):
        checkout.run(*flags, status=40)
        assert message in checkout.output
        assert "Traceback" not in checkout.output

    def test_an_empty_archive_is_named(self, checkout):
        (checkout.folder / "empty.tar.gz").touch()
        checkout.run("--DownloadCIFAR-archive", "empty.tar.gz", status=40)
        assert "the archive empty.tar.gz is empty; expected a gzipped tar" in checkout.output
        assert "Traceback" not in checkout.output

    def test_an_archive_that_is_none_is_named_as_it_was_given(self, checkout):
        (checkout.folder / "mine.tar.gz").write_bytes(b"<html>503</html>")
        checkout.run("--DownloadCIFAR-archive", "mine.tar.gz", status=30)
        assert re.search(
            r"\bmine.tar.gz: it is a web page .*Give another: `make pipeline ARCHIVE=PATH`", checkout.output
        )
        assert "Delete it" not in checkout.output

    def test_a_file_where_a_folder_should_be_is_named(self, checkout):
        (checkout.folder / "file").touch()
        process = checkout.start("--outputs-dir", "file")
        printed = process.communicate()[0]
        assert process.returncode != 0
        assert "file/.runs: Not a directory" in printed
        assert "Traceback" not in printed

    @pytest.mark.parametrize(
        "content", ["", "[]", '{"files": []}', '{"stage": 5}', "[" * 200_000], ids=lambda text: text[:20]
    )
    def test_a_record_that_makes_no_sense_is_no_result(self, checkout, content):
        record = checkout.result("TrainMLP") / "stage.json"
        fields = {} if "{" not in content else json.loads(record.read_text()) | json.loads(content)
        record.write_text(json.dumps(fields) if fields else content)
        assert checkout.pipeline("verify", status=1).count("TrainMLP") == 1
        assert checkout.run()["TrainMLP"] == "computed"

    def test_links_hold_where_outputs_is_a_link_itself(self, checkout, tmp_path):
        (checkout.folder / "outputs").rename(tmp_path / "elsewhere")
        (checkout.folder / "outputs").symlink_to(tmp_path / "elsewhere")
        checkout.run()
        for stage in STAGES:
            assert (checkout.folder / "outputs" / "latest" / stage / "stage.json").exists(), stage

    @pytest.mark.parametrize("kept", ["TrainMLP", "checkpoints"])
    def test_a_folder_that_was_moved_and_linked_gives_way_to_a_forced_result(self, checkout, trained, tmp_path, kept):
        (place,) = (path for path in checkout.folder.glob(f"outputs/{kept}/*") if "CNN" not in path.name)
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
        assert checkout.run("--force", "TrainMLP")["TrainMLP"] == "computed"
        assert not place.is_symlink()
        assert checkout.leftovers() == []
        assert checkout.files() == trained.files()

    def test_a_failed_run_is_a_failed_run_in_the_history(self, checkout):
        checkout.run("--force", "TrainCNN", "--TrainCNN-learning-rate", "1e30", status=30)
        assert "Try a smaller learning rate" in checkout.output
        assert checkout.history()[-1]["exit"] == "failed"

    def test_a_forced_stage_that_fails_keeps_its_result_and_is_told(self, checkout):
        forced = checkout.command("GrayscaleFlat", *checkout.flags(), "--force", "GrayscaleFlat")
        before = checkout.files()
        assert checkout.call("bash", "-c", 'ulimit -f 800 && exec "$@"', "bash", *forced).returncode == 30  # kilobytes
        assert checkout.history()[-1]["stages"]["GrayscaleFlat"] == "not made"
        assert checkout.files() == before

    def test_a_history_line_that_was_cut_off_costs_only_itself(self, checkout):
        path = checkout.folder / "outputs" / "history.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
        checkout.run()
        assert [run["exit"] for run in checkout.history()] == ["killed", "ok"]


class TestLuigid:
    @pytest.fixture
    def port(self, tmp_path):
        """Run a real luigid on loopback and return its port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        program = "import sys; from luigi.cmdline import luigid; luigid(sys.argv[1:])"
        command = [sys.executable, "-c", program, "--address", "127.0.0.1", "--port", str(port)]
        with subprocess.Popen(
            [*command, "--state-path", str(tmp_path / "state")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield port
            process.terminate()

    @pytest.mark.state("new")
    def test_serves_two_runs_at_once(self, checkout, port):
        (checkout.folder / "luigid.cfg").write_text(
            f"[core]\nlocal_scheduler = false\ndefault-scheduler-host = 127.0.0.1\ndefault-scheduler-port = {port}\n"
        )
        runs = [checkout.start("--seed", seed, LUIGI_CONFIG_PATH="luigid.cfg") for seed in ("7", "7", "8")]
        printed = [run.communicate(timeout=180)[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0, 0], printed
        assert len(checkout.results("TrainCNN")) == 2
        assert len(checkout.results("ConvertToHDF5")) == 1


class TestTwoRunsAtOnce:
    @pytest.mark.state("new")
    @pytest.mark.parametrize("tasks", [("Pipeline", "Pipeline"), ("EvaluateCNN", "EvaluateMLP")])
    def test_share_the_work_and_both_end_well(self, checkout, trained, tasks):
        processes = [checkout.start(task=task) for task in tasks]
        printed = [process.communicate(timeout=180)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], printed
        made = [name for run in checkout.history() for name, outcome in run["stages"].items() if outcome == "computed"]
        assert len(made) == len(set(made))
        assert checkout.leftovers() == []
        checkout.run()
        assert checkout.files() == trained.files()

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_that_force_the_same_stages_both_end_well(self, checkout, trained, workers):
        processes = []
        for _ in range(2):
            processes.append(checkout.start("--force", "GrayscaleFlat,TrainMLP", "--workers", workers))
            time.sleep(0.1)
        printed = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], printed
        assert "Traceback" not in "".join(printed)
        assert checkout.files() == trained.files()
        assert checkout.leftovers() == []


@pytest.mark.slow
class TestKill:
    @pytest.mark.state("new")
    def test_at_any_moment_loses_nothing(self, checkout, trained):
        """Kill the run with SIGKILL again and again; what is left always leads to the undisturbed result."""
        moments = random.Random(0)
        for _ in range(4):
            process = checkout.start("--workers", moments.choice(["1", "2"]))
            time.sleep(moments.uniform(0.2, 2.5))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            for stage, row in checkout.status().items():
                assert row["state"] in ("cached", "to run"), stage
            assert "as it was made" in checkout.pipeline("verify")
        checkout.run()
        assert checkout.files() == trained.files()
        assert checkout.leftovers() == []
        assert {run["exit"] for run in checkout.history()} <= {"killed", "ok"}


class TestHistory:
    @pytest.mark.state("two learning rates")
    def test_tells_what_ran(self, checkout):
        first, second = checkout.history()
        assert first["stages"] == dict.fromkeys(STAGES, "computed")
        assert second["stages"]["TrainCNN"] == "computed"
        assert second["stages"]["TrainMLP"] == "reused"
        assert second["exit"] == "ok"
        assert set(second["accuracy"]) == {"EvaluateMLP", "EvaluateCNN"}
        assert "4 computed" in checkout.pipeline("history")

    def test_tells_which_settings_differed_and_what_that_did(self, checkout):
        checkout.run("--TrainCNN-learning-rate", "0.02", "--seed", "7")
        checkout.run("--TrainCNN-learning-rate", "0.02", "--seed", "7")
        first, second, third = checkout.history()
        rises = {
            name: round(second["accuracy"][f"Evaluate{name}"] - first["accuracy"][f"Evaluate{name}"], 6)
            for name in ("MLP", "CNN")
        }
        assert second["changes"] == [
            {"differences": ["seed 42 -> 7"], "accuracy": {"MLP": rises["MLP"]}},
            {"differences": ["seed 42 -> 7", "learning_rate 0.005 -> 0.02"], "accuracy": {"CNN": rises["CNN"]}},
        ]
        assert "changes" not in first | third
        line = f"seed 42 -> 7; learning_rate 0.005 -> 0.02: CNN {rises['CNN']:+.4f}\n"
        assert line in checkout.pipeline("history")
        assert line in checkout.pipeline("history", "--last", "2")

    def test_tells_that_code_and_data_differed(self, checkout):
        checkout.edit("pipeline/training/evaluate.py", "(predicted == labels)", "(labels == predicted)")
        checkout.run()
        small_archive(checkout.archive, seed=1)
        checkout.run()
        _, second, third = checkout.history()
        [change] = second["changes"]
        assert change == {
            "differences": ["code of pipeline.training.evaluate.metrics changed"],
            "accuracy": {"MLP": 0.0, "CNN": 0.0},
        }
        assert [change["differences"][0].partition(" ")[0] for change in third["changes"]] == ["sha256"]

    def test_compares_no_results_that_are_gone(self, checkout):
        shutil.rmtree(checkout.result("EvaluateCNN"))
        checkout.run("--TrainCNN-learning-rate", "0.02")
        assert "changes" not in checkout.history()[-1]
