"""Machines that share results: a second one computes nothing, and fetches no more than it needs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from dataclasses import replace

import obstore
import pytest
from PIL import Image

from pipeline.errors import SettingError
from pipeline.progress.monitor import SILENT
from pipeline.store.record import Record, parsed
from pipeline.store.remote import upkeep, use
from pipeline.store.remote.shared import file_object
from pipeline.store.remote.urls import check_remote
from tests import small_stages
from tests.checkout import LONG, QUICK, STAGES, Checkout
from tests.machines import NAMES, Machine
from tests.small_stages import TEXT

REUSED = dict.fromkeys(STAGES, "reused")
SHOWN = ["EvaluateMLP", "EvaluateCNN", "Report", "HistoryMLP", "HistoryCNN"]
"""Stages whose files people open."""

MLP = ["DownloadCIFAR", "ConvertToHDF5", "GrayscaleFlat", "TrainMLP", "EvaluateMLP"]
"""The stages of `EvaluateMLP`."""

RATE = ("--TrainMLP-learning-rate", "0.02")
TRAINED = dict.fromkeys(MLP, "reused") | dict.fromkeys(["TrainMLP", "EvaluateMLP"], "computed")
READ = ("--store-remote-mode", "read")
VERIFY = ("verify", "--in-remote")
GC = ("gc", "--in-remote")
MONTH = 31 * 86_400


class Fresh(Checkout):
    """A checkout without an archive of images, and without results."""

    @classmethod
    def of(cls, states, folder, remote):
        made = cls(states.copy("new", folder).folder)
        digest = hashlib.sha256(made.archive.read_bytes()).hexdigest()
        made.archive.unlink()
        made.set("DownloadCIFAR", sources="http://127.0.0.1:9/none.tar.gz", sha256=digest)
        made.set("store", remote=remote)
        return made

    def flags(self):
        return list(QUICK)

    def here(self):
        """Return the stages that have files on this machine."""
        return [stage for stage in STAGES if any(self.folder.glob(f"*/{stage}/*/stage.json"))]

    def evaluate(self, *flags):
        """Evaluate the MLP, and return what became of each stage."""
        return self.run(*flags, task="EvaluateMLP")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch, tmp_path):
    """Hide whatever credentials the person has who runs the tests."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def pushed(states, tmp_path_factory):
    """A folder to which a checkout has pushed its results."""
    folder = tmp_path_factory.mktemp("pushed")
    checkout = states.copy("trained", folder / "checkout")
    checkout.set("store", remote=f"file://{folder}/remote")
    told = checkout.pipeline("push", *checkout.flags())
    assert re.search(rf"^file://{folder}/remote: 11 results written, [\d.]+ MB; 0 were there\.$", told, re.M)
    assert "0 results written, 0.0 kB; 11 were there." in checkout.pipeline("push", *checkout.flags())
    return folder / "remote"


@pytest.fixture
def remote(pushed, tmp_path):
    """The same results in a folder of the test's own."""
    return shutil.copytree(pushed, tmp_path / "remote")


@pytest.fixture
def second(states, remote, tmp_path):
    return Fresh.of(states, tmp_path / "second", f"file://{remote}")


@pytest.fixture
def third(states, remote, tmp_path):
    return Fresh.of(states, tmp_path / "third", f"file://{remote}")


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestSecondMachine:
    def test_has_the_report_and_no_images(self, second, trained):
        assert {row["state"] for row in second.status().values()} == {"remote"}
        assert second.run() == REUSED
        assert second.here() == SHOWN
        assert second.run() == REUSED
        states = {stage: row["state"] for stage, row in second.status().items()}
        assert states == {stage: "cached" if stage in SHOWN else "remote" for stage in STAGES}
        assert "6 results fetched; 11 of 11 are here now." in second.pipeline("pull", *second.flags())
        assert second.files() == trained.files()
        assert "as it was made" in second.pipeline("verify")

    def test_predicts_and_exports(self, second, tmp_path):
        second.run()
        picture = tmp_path / "picture.png"
        Image.new("RGB", (32, 32)).save(picture)
        assert f"{picture}  " in second.pipeline("predict", str(picture))
        assert second.here() == ["TrainCNN", *SHOWN]
        second.pipeline("export", "--network", "mlp", "--format", "safetensors")
        assert second.here() == ["TrainMLP", "TrainCNN", *SHOWN]

    def test_computes_what_is_new_from_what_it_fetches(self, second):
        assert second.evaluate(*RATE) == TRAINED
        assert second.here() == ["GrayscaleFlat", "TrainMLP", "EvaluateMLP"]

    def test_blames_a_full_disk_and_not_the_remote(self, second):
        limited = ("bash", "-c", 'ulimit -f 100 && exec "$@"', "bash", sys.executable)  # kilobytes
        pulled = second.call(*limited, "-m", "pipeline", "pull", *second.flags())
        assert pulled.returncode == 1
        assert re.search(r"^/\S+: File too large\. Make room, .*\.$", pulled.stderr, re.M)
        ran = second.call(*limited, *second.command("EvaluateMLP", *second.flags(), *RATE)[1:])
        assert ran.returncode == 30
        assert "a limit on files (ulimit -f)" in ran.stderr
        assert "Work goes on without it" not in pulled.stderr + ran.stderr

    def test_computes_what_is_forced(self, second, trained):
        assert second.evaluate("--force", "TrainMLP") == TRAINED | {"EvaluateMLP": "reused"}
        assert second.result("TrainMLP").name == trained.result("TrainMLP").name

    def test_adopts_what_another_has_made_of_equal_content(self, second):
        second.edit("pipeline/data/grayscale.py", "gray -= _HALF", "gray = gray - _HALF")
        adopted = {"GrayscaleFlat": "computed", "TrainMLP": "adopted", "EvaluateMLP": "adopted"}
        assert second.evaluate() == dict.fromkeys(MLP, "reused") | adopted
        assert second.here() == ["ConvertToHDF5", "GrayscaleFlat", "EvaluateMLP"]

    def test_gives_what_it_made_only_where_it_may(self, second, third, remote):
        before = content(remote)
        assert second.evaluate(*RATE, *READ) == TRAINED
        told = second.pipeline("push", *READ, *second.flags(), status=1)
        assert "store.remote_mode is 'read'; expected 'readwrite'" in told
        assert content(remote) == before
        assert "2 results written" in second.pipeline("push", *RATE, *second.flags())
        assert third.evaluate(*RATE) == dict.fromkeys(MLP, "reused")

    def test_shows_no_accuracy_that_is_no_number(self, second, remote):
        (path,) = (remote / "ac" / "EvaluateMLP").iterdir()
        record = parsed(path.read_bytes())
        path.write_text(replace(record, measured=record.measured | {"accuracy": "high"}).sealed().text)
        assert second.evaluate() == dict.fromkeys(MLP, "reused")
        assert "Traceback" not in second.output

    def test_without_the_remote_has_records_only(self, second):
        second.evaluate()
        second.set("store", remote="")
        row = second.status()["TrainMLP"]
        assert (row["state"], row["why"]) == ("to run", ["its files are in a remote, and none is set"])


class TestVerify:
    def test_removes_what_is_wrong_and_runs_make_it_again(self, second, third, remote):
        (training,), (evaluation,) = ([*(remote / "ac" / stage).iterdir()] for stage in ("TrainMLP", "EvaluateMLP"))
        weights = f"cas/{json.loads(training.read_text())['files']['weights.h5']['sha256']}"
        (remote / weights).write_bytes(bytes(1000))
        evaluation.write_bytes(evaluation.read_bytes()[:-10])

        assert f"{weights} has other content than its name says" in second.pipeline(*VERIFY, *READ, status=1)
        told = second.pipeline(*VERIFY, status=1)
        assert f"{weights} has other content than its name says" in told
        assert f"ac/TrainMLP/{training.name} lacks its weights.h5, {weights}" in told
        assert f"ac/EvaluateMLP/{evaluation.name} is not the record of the result that its name says" in told
        assert "3 wrong. They are removed; runs make them again." in told
        assert f"Everything in file://{remote} is as it was made." in second.pipeline(*VERIFY)

        assert second.evaluate() == TRAINED
        assert third.evaluate() == dict.fromkeys(MLP, "reused")


class TestGarbage:
    def test_is_what_no_run_has_used_for_a_month(self, second, third, remote, states, tmp_path):
        assert second.evaluate(*RATE) == TRAINED
        aged(remote)
        third.status()  # it writes the records on the machine, and is no use of the results
        third.run()
        assert f"file://{remote}: 2 results, would be removed." in second.pipeline(*GC, "--dry-run", *second.flags())
        assert "since there is no terminal to ask at" in second.pipeline(*GC, *second.flags(), status=1)
        told = second.pipeline(*GC, "--yes", *second.flags())
        assert re.search(rf"file://{remote}: 2 results removed, 0\.\d MB\.", told)
        assert "is as it was made" in second.pipeline(*VERIFY)
        assert not (remote / "gate").exists()
        assert Fresh.of(states, tmp_path / "fourth", f"file://{remote}").run() == REUSED

    def test_is_nothing_that_a_running_machine_needs(self, second, third, remote):
        """Not even if it runs for a month."""
        third.edit("pipeline/store/remote/use.py", "RENEWAL = 3600.0", "RENEWAL = 0.2")
        running = third.start(*LONG, task="TrainMLP")
        wait_for(lambda: list((remote / "runs").glob("*")))
        try:
            aged(remote)
            wait_for(lambda: all(is_new(path) for path in (remote / "runs").glob("*")))
            second.pipeline(*GC, "--keep-days", "0", "--yes", *second.flags())
            left = {path.parent.name for path in (remote / "ac").rglob("*") if path.is_file()}
            assert left == {"DownloadCIFAR", "ConvertToHDF5", "GrayscaleFlat"}
        finally:
            running.kill()
            running.communicate()


class TestS3:
    def test_needs_no_request_for_a_rerun_and_keeps_no_secret(self, states, place, proxy, tmp_path, monkeypatch):
        first = states.copy("trained", tmp_path / "first")
        first.set("store", remote=place.url)
        write_profile(tmp_path / ".aws", place)
        monkeypatch.setenv("AWS_PROFILE", "team")
        assert "11 results written" in first.pipeline("push", *first.flags())

        monkeypatch.delenv("AWS_PROFILE")
        reader = place.read_only().at(proxy.endpoint).environment
        for name, value in reader.items():
            monkeypatch.setenv(name, value)
        second = Fresh.of(states, tmp_path / "second", place.url)
        second.set("store", remote_mode="read")
        assert second.run() == REUSED
        assert "WARNING" not in second.output
        assert proxy.count("GET", "/cas/") == sum(len(list(second.result(stage).iterdir())) - 1 for stage in SHOWN)
        assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}
        proxy.heals()
        assert second.run() == REUSED
        assert proxy.requests == []
        for value in content(second.folder).values():
            assert reader["AWS_SECRET_ACCESS_KEY"].encode() not in value

    def test_without_credentials_is_named(self, second, place):
        second.set("store", remote=place.url)
        told = second.pipeline("status", *second.flags())
        assert f"{place.url}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in told
        assert "TrainCNN       to run " in told

    def test_two_machines_at_once(self, states, place, tmp_path, monkeypatch):
        for name, value in place.environment.items():
            monkeypatch.setenv(name, value)
        machines = [states.copy("new", tmp_path / name) for name in ("one", "two")]
        for machine in machines:
            machine.set("store", remote=place.url)
        runs = [machine.start(task="EvaluateMLP") for machine in machines]
        printed = [run.communicate(timeout=120)[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0], printed
        for machine in machines:
            assert set(machine.run(task="EvaluateMLP").values()) == {"reused"}
            machine.pipeline("pull", *machine.flags())
        one, two = ({stage: records(machine, stage) for stage in MLP} for machine in machines)
        assert one == two
        assert len([entry for page in obstore.list(place.open(), "ac") for entry in page]) == len(MLP)


def records(machine, stage):
    """Return the digests of the files of a stage's result."""
    return json.loads((machine.result(stage) / "stage.json").read_text())["files"]


def write_profile(folder, place):
    """Write credentials and settings into the files of AWS's command line."""
    folder.mkdir()
    keys = place.environment
    (folder / "credentials").write_text(
        f"[team]\naws_access_key_id = {keys['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {keys['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (folder / "config").write_text(f"[profile team]\nregion = us-east-1\nendpoint_url = {place.endpoint}\n")


def test_folder_that_is_not_there_is_named_once(states, tmp_path):
    """By the run and its workers together."""
    checkout = states.copy("converted", tmp_path / "checkout")
    checkout.set("store", remote="file:///nowhere/results")
    assert checkout.run("--workers", "2", task="EvaluateMLP") == TRAINED
    assert checkout.output.count("file:///nowhere/results") == 1
    assert "there is no folder /nowhere (is its disk mounted?). Work goes on without it." in checkout.output


class TestUrl:
    @pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/a/b", "gs://bucket/a", "az://account/a", "file:///a"])
    def test_of_a_remote(self, url):
        check_remote(url)

    @pytest.mark.parametrize(
        "url",
        ["results", "http://host/a", "s3://", "s3:bucket", "file://host/a", "file:///", "s3://[", "s3://a/ b"],
    )
    def test_of_none(self, url):
        with pytest.raises(SettingError, match=f"store.remote is {re.escape(repr(url))}; expected a URL such as s3://"):
            check_remote(url)

    @pytest.mark.parametrize("url", ["s3://key:hidden@bucket", "s3://hidden@bucket", "s3://bucket?key=hidden"])
    def test_with_a_secret_is_refused_without_it(self, url):
        with pytest.raises(SettingError, match=r"^store\.remote has a password, a query or a fragment") as refused:
            check_remote(url)
        assert "hidden" not in str(refused.value)


class TestSmallStages:
    """What a machine does with its results and those of another, without Luigi."""

    def test_that_were_altered_are_not_given(self, tmp_path):
        machine = Machine(tmp_path / "one", f"file://{tmp_path}/remote")
        machine.run()
        altered = machine.stages[0]
        (altered.path / TEXT).write_text("FIRST")
        machine.url = f"file://{tmp_path}/another"
        pushed = machine.open().push({stage.path: Record.read(stage.path) for stage in machine.stages}, SILENT)
        assert [record.stage for record in pushed.records] == ["Second", "Third"]
        assert machine.warnings == [
            f"{machine.url}: {altered.path} is not written to it, because {TEXT} has other content than it had."
        ]

    def test_that_come_from_another_input_than_the_one_there_are_not_given(self, tmp_path, monkeypatch):
        """Nobody could use them, nor write others in their place."""
        one, two, three, four = (Machine(tmp_path / name, f"file://{tmp_path}/remote") for name in "1234")
        one.run(["First"])
        write = small_stages.write
        with monkeypatch.context() as patch:
            patch.setattr(small_stages, "write", lambda text, **given: write(text=text.upper(), **given))
            assert two.run(forced=["First"]) == dict.fromkeys(NAMES, "computed")
        second = two.stages[1].path
        assert two.warnings == [
            f"{two.url}: {second} is not written to it, nor what comes from it: its First is another than that there."
        ]
        assert three.run() == {"First": "reused", "Second": "computed", "Third": "computed"}
        assert four.run() == dict.fromkeys(NAMES, "reused")
        assert two.run() == dict.fromkeys(NAMES, "reused")

    def test_that_are_just_being_given_keep_their_files(self, tmp_path):
        """Another result may have the same file; its record comes later."""
        machine = Machine(tmp_path / "one", f"file://{tmp_path}/remote")
        machine.run()
        objects = machine.open().objects
        unused = upkeep.unused(objects, 0)
        first = machine.stages[0].path
        name = file_object(Record.read(first).files[TEXT]["sha256"])
        objects.upload(name, first / TEXT)
        upkeep.remove(objects, unused, 0)
        assert list(objects.entries("cas")) == [name]
        assert objects.entries("ac") == {}

    def test_are_needed_until_their_run_ends(self, tmp_path, monkeypatch):
        """However long it takes, and although the remote fails now and then."""
        monkeypatch.setattr(use, "RENEWAL", 0.1)
        mount = tmp_path / "mount"
        mount.mkdir()
        machine, runs = Machine(tmp_path / "one", f"file://{mount}/remote"), mount / "remote" / "runs"
        machine.run()
        aged(mount)
        remote = machine.open()
        remote.begin("long", machine.stages, SILENT)
        mount.rename(tmp_path / "away")
        time.sleep(0.5)
        (tmp_path / "away").rename(mount)
        aged(runs)
        wait_for(lambda: is_new(runs / "long"))
        assert upkeep.unused(machine.open().objects, 0) == []
        remote.end()
        aged(runs)
        time.sleep(0.5)
        assert not is_new(runs / "long")
        assert len(upkeep.unused(machine.open().objects, 0)) == 3
        assert machine.warnings == []

    def test_that_another_machine_finishes_first_are_replaced(self, tmp_path, monkeypatch):
        """Results downstream of both would not fit each other."""
        one, two = (Machine(tmp_path / name, f"file://{tmp_path}/remote") for name in ("one", "two"))
        write = small_stages.write

        def write_after_the_other(output, *, text, **_):
            monkeypatch.setattr(small_stages, "write", write)
            one.run()
            (output / TEXT).write_text(text.upper())

        monkeypatch.setattr(small_stages, "write", write_after_the_other)
        assert two.run() == dict.fromkeys(["First", "Second", "Third"], "reused")
        assert two.warnings == []


def aged(folder):
    """Let all that is in a folder be a month old."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - MONTH,) * 2)


def is_new(path):
    return time.time() - path.stat().st_mtime < MONTH / 2


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
