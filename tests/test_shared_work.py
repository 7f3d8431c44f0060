"""Runs on several machines that share their stages through a real luigid and a remote, each in folders of its own."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import obstore
import pytest

from pipeline.store.record import Record
from tests.checkout import STAGES
from tests.object_faults import FaultyProxy, says
from tests.test_luigid import Luigid

pytestmark = pytest.mark.state("new")

MLP = ["DownloadCIFAR", "ConvertToHDF5", "GrayscaleFlat", "TrainMLP", "EvaluateMLP"]


@pytest.fixture
def luigid(checkout):
    """A luigid that notices after three seconds that a machine is gone."""
    made = Luigid(checkout, worker_disconnect_delay="3", retry_delay="1", prune_on_get_work="true")
    yield made
    made.end()


@pytest.fixture
def flags(luigid, tmp_path):
    return ["--luigid", f"127.0.0.1:{luigid.port}", "--store-remote", (tmp_path / "remote").as_uri()]


def ended(run, status=0):
    """Wait for the end of a run, and return what it printed."""
    printed = run.communicate(timeout=200)[0]
    assert run.returncode == status, printed
    return printed


def computed(machine):
    """Return the stages that a machine computed in its last run."""
    return [stage for stage, outcome in machine.history()[-1]["stages"].items() if outcome == "computed"]


def until(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_stage_is_made_once_and_every_machine_ends_with_0(machines, flags):
    runs = [machine.start(*flags, task="EvaluateMLP") for machine in machines]
    for run in runs:
        assert "test accuracy" in ended(run)
    assert Counter(stage for machine in machines for stage in computed(machine)) == Counter(MLP)
    for machine in machines:
        assert machine.run(*flags, task="EvaluateMLP") == dict.fromkeys(MLP, "reused")
        assert json.loads((machine.result("EvaluateMLP") / "metrics.json").read_text())["images"] == 40


def test_machines_with_other_remotes_make_their_own_results(machines, flags, tmp_path):
    runs = [machines[0].start(*flags, task="EvaluateMLP")]
    runs += [machines[1].start(*flags, "--store-remote", (tmp_path / "other").as_uri(), task="EvaluateMLP")]
    for machine, run in zip(machines, runs, strict=True):
        ended(run)
        assert computed(machine) == MLP


def test_machines_that_want_different_results_are_told_so(machines, flags):
    one, two = machines
    first = one.start(*flags, "--TrainMLP-epochs", "400", task="EvaluateMLP")
    until((one.folder / "outputs" / "TrainMLP").is_dir)
    told = ended(two.start(*flags, "--TrainMLP-epochs", "3", task="EvaluateMLP"))
    assert re.search(r"WARNING: .* has a run of EvaluateMLP too, but with other EvaluateMLP, TrainMLP: ", told)
    assert "TrainMLP.epochs is 400 there, 3 here." in told
    ended(first)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--device", "auto"], "device is 'auto'; expected both by name"),
        (["--EvaluateMLP-on-device", "auto"], "device is 'auto'; expected both by name"),
        (["--force", "TrainMLP"], "force is 'TrainMLP'; expected none"),
        (["--store-remote-mode", "read"], "store.remote_mode is 'read'; expected 'readwrite'"),
        (["--luigid", "nowhere"], "luigid is 'nowhere'; expected its host and port, such as localhost:8082"),
        (["--luigid", "127.0.0.1:9"], "no scheduler answers at http://127.0.0.1:9/"),
    ],
)
def test_settings_that_machines_cannot_share_are_refused(checkout, tmp_path, given, told):
    flags = ["--luigid", "127.0.0.1:8082", "--store-remote", (tmp_path / "remote").as_uri()]
    refused = checkout.python(*checkout.command("EvaluateMLP", *checkout.flags(), *flags, *given)[1:], merged=True)
    assert refused.returncode == 40
    assert told in refused.stdout


def worker(machine, *flags):
    """Start a worker on a machine."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "worker", *flags],
        cwd=machine.folder,
        env=machine.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


HOSTILE = """
import json, sys, tasks
from luigi.cmdline_parser import CmdlineParser
from tasks.shared_work import OtherRun, command_of

with CmdlineParser.global_instance(["Pipeline"], allow_override=True):
    given = json.loads(sys.argv[1])
    print(json.dumps([command_of(OtherRun("host", task, settings, frozenset())) for task, settings in given]))
"""


def test_a_worker_takes_no_other_settings_than_those_that_change_results(checkout):
    given = [
        ("Pipeline", {"TrainMLP.epochs": "3", "settings.engine": "numba"}),
        ("Pipeline", {"core.logging_conf_file": "evil.cfg"}),
        ("Pipeline", {"schedule.on_failure_command": "evil"}),
        ("Pipeline", {"settings.outputs_dir": "/evil"}),
        ("Pipeline", {"DownloadCIFAR.archive": "/etc/passwd"}),
        ("Pipeline", {"store.remote": "s3://evil/x"}),
        ("--module", {}),
        ("NetworkTask", {}),
    ]
    done = checkout.python("-c", HOSTILE, json.dumps(given))
    first, *refused = json.loads(done.stdout)
    assert first[:3] == ["Pipeline", "--TrainMLP-epochs=3", "--engine=numba"]
    assert refused == [None] * 7


def test_the_comparison_of_engines_is_refused(checkout, tmp_path):
    flags = ["--luigid", "127.0.0.1:8082", "--store-remote", (tmp_path / "remote").as_uri()]
    refused = checkout.python(*checkout.command("Compare", *checkout.flags(), *flags)[1:], merged=True)
    assert refused.returncode == 40
    assert "Compare measures the engines of this machine" in refused.stdout


@pytest.mark.state("converted")
class TestSweep:
    """A sweep, and another run at the same time that needs a training of it."""

    def sweep(self, machine, flags, rate, epochs):
        return machine.start(*flags, "--network", "mlp", "--learning-rate", rate, "--epochs", epochs, task="Sweep")

    def evaluation(self, machine, flags, rate, epochs):
        """Start a run that trains with the setting of a sweep."""
        own = ["--TrainMLP-learning-rate", rate, "--TrainMLP-epochs", epochs]
        return machine.start(*flags, *own, task="EvaluateMLP")

    def test_trains_a_common_setting_once(self, machines, flags):
        sweep = self.sweep(machines[0], flags, "0.05", "100")
        evaluation = self.evaluation(machines[1], flags, "0.05", "100")
        assert "1 setting" in ended(sweep)
        assert "test accuracy" in ended(evaluation)
        made = Counter(stage.partition(" ")[0] for machine in machines for stage in computed(machine))
        assert made == Counter(["TrainMLP", "EvaluateMLP", "Sweep"])

    @pytest.mark.slow
    def test_has_a_failed_setting_as_a_row_while_the_other_run_fails(self, machines, flags):
        sweep = self.sweep(machines[0], flags, "1e30", "1")
        evaluation = self.evaluation(machines[1], flags, "1e30", "1")
        assert re.search(r"\| the loss is (nan|inf) in epoch 1, minibatch 2 +\|$", ended(sweep), re.M)
        assert "ERROR: the loss is" in ended(evaluation, 30)

    @pytest.mark.slow
    def test_whose_failed_setting_luigid_has_as_done_leaves_it_to_the_other_run(self, machines, flags, luigid):
        with FaultyProxy(f"http://127.0.0.1:{luigid.port}") as proxy:
            ended(self.sweep(machines[0], flags, "1e30", "1"))
            proxied = [*flags, "--luigid", proxy.host]
            assert "ERROR: the loss is" in ended(self.evaluation(machines[1], proxied, "1e30", "1"), 30)
            assert 0 < proxy.count("POST", "task_search") < 10

    @pytest.mark.slow
    def test_goes_on_from_a_shorter_training_without_waiting_for_its_checkpoints(self, machines, flags):
        given = ["--network", "mlp", "--epochs", "4,2", "--workers", "2"]
        assert "which makes it with other epochs" not in ended(machines[0].start(*flags, *given, task="Sweep"))
        records = filter(None, map(Record.read, (machines[0].folder / "outputs" / "TrainMLP").iterdir()))
        resumed = {record.parameters["epochs"]: record.measured.get("resumed_from_epoch") for record in records}
        assert resumed == {2: None, 4: 2}


@pytest.mark.slow
class TestTrouble:
    """What befalls one of two machines, or luigid."""

    LONG = ("--TrainMLP-epochs", "200")

    def test_a_killed_machine_leaves_its_stage_to_another(self, machines, flags, luigid):
        killed, other = machines
        first = killed.start(*flags, *self.LONG, task="EvaluateMLP")
        luigid.until("TrainMLP", lambda task: task["status"] == "RUNNING")
        second = other.start(*flags, *self.LONG, task="EvaluateMLP")
        until((other.folder / "outputs" / "history.jsonl").is_file)
        subprocess.run(["pkill", "-9", "-s", str(first.pid)], check=True)
        first.communicate()
        ended(second)
        assert "TrainMLP" in computed(other)
        assert "DownloadCIFAR" not in computed(other)

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
    def test_luigid_may_restart(self, machines, flags, luigid, how):
        runs = [machine.start(*flags, *self.LONG, task="EvaluateMLP") for machine in machines]
        luigid.until("TrainMLP", lambda task: task["status"] == "RUNNING")
        luigid.end(how)
        time.sleep(1)
        luigid.start()
        for run in runs:
            ended(run)

    def test_a_stage_that_fails_on_one_machine_is_made_by_another(self, machines, flags, luigid):
        failing, other = machines
        (failing.folder / "outputs").mkdir()
        (failing.folder / "outputs" / "checkpoints").write_text("no folder")
        failing_run = failing.start(*flags, task="EvaluateMLP")
        luigid.until("TrainMLP", lambda task: task["status"] in ("RUNNING", "FAILED"))
        run = other.start(*flags, task="EvaluateMLP")
        ended(run)
        printed = failing_run.communicate(timeout=200)[0]
        assert failing_run.returncode in (1, 30), printed
        assert "TrainMLP" in computed(other)

    def test_a_worker_helps_with_the_settings_of_the_run(self, machines, flags):
        one, helper = machines
        helper.archive.unlink()
        run = one.start(*flags, "--TrainMLP-epochs", "5", "--TrainCNN-epochs", "5")
        help_given = worker(helper, *flags)
        ended(run)
        told = ended(help_given)
        assert "sharing a run of Pipeline" in told
        assert told.endswith("Nothing is left to share.\n")
        made = Counter(stage for machine in machines for stage in computed(machine))
        assert made == Counter(STAGES)

    def test_a_worker_for_ever_outlives_a_failure_of_the_remote(self, machines, luigid, tmp_path):
        one, helper = machines
        helper.edit("pipeline/store/remote/shared.py", "PAUSE = 300.0", "PAUSE = 1.0")
        remote = tmp_path / "mount" / "remote"
        flags = ["--luigid", f"127.0.0.1:{luigid.port}", "--store-remote", remote.as_uri()]
        given = worker(helper, *flags, "--forever")
        assert "there is no folder" in given.stdout.readline()
        assert f"{remote.as_uri()} does not answer. The worker asks it again in " in given.stdout.readline()
        remote.parent.mkdir()
        run = one.start(*flags, *self.LONG, task="EvaluateMLP")
        until((helper.folder / "outputs" / "history.jsonl").is_file)
        ended(run)
        given.terminate()
        ended(given, -signal.SIGTERM)

    def test_a_worker_that_is_terminated_ends_the_run_that_it_shares(self, machines, flags, luigid):
        one, helper = machines
        run = one.start(*flags, *self.LONG, task="EvaluateMLP")
        luigid.until("TrainMLP", lambda task: task["status"] == "RUNNING")
        given = worker(helper, *flags, "--forever")
        history = helper.folder / "outputs" / "history.jsonl"
        until(history.is_file)
        given.terminate()
        assert "Finished results are kept" in ended(given, -signal.SIGTERM)
        assert len(list(filter(None, history.read_text().splitlines()))) == 2  # the run's beginning and its end
        ended(run)


KILLS = int(os.environ.get("KILLS", "0")) or 6


def kill(run):
    subprocess.run(["pkill", "-9", "-s", str(run.pid)], check=False)
    run.communicate()


@pytest.mark.slow
def test_killed_machines_and_a_remote_that_fails_make_what_one_machine_makes(
    machines, luigid, object_store, states, tmp_path
):
    """Kill two machines again and again, while the remote refuses requests at random; count no result twice."""
    alone = states.copy("new", tmp_path / "alone")
    place, moments, kills = object_store.place(), random.Random(KILLS), 0
    seen: dict[str, bytes] = {}
    with FaultyProxy(place.endpoint, seed=KILLS) as proxy:
        proxy.breaks(says(503, "SlowDown"), chance=0.1)
        flags = ["--luigid", f"127.0.0.1:{luigid.port}", "--store-remote", place.url]
        for seed in range(10_000):
            own = ["--seed", str(seed), "--TrainMLP-epochs", "20"]

            def start(machine, own=own):
                return machine.start(*flags, *own, task="EvaluateMLP", **place.at(proxy.endpoint).environment)

            runs = [start(machine) for machine in machines]
            for _ in range(min(10, KILLS - kills)):
                time.sleep(moments.uniform(0.5, 6))
                which = moments.randrange(2)
                kill(runs[which])
                kills += 1
                runs[which] = start(machines[which])
                seen = only_grows(seen, place)
            for run in runs:
                ended(run)
            alone.run(*own, task="EvaluateMLP")
            for machine in machines:
                assert files(machine, "TrainMLP") == files(alone, "TrainMLP")
                assert files(machine, "EvaluateMLP") == files(alone, "EvaluateMLP")
            seen = only_grows(seen, place)
            if kills >= KILLS:
                break
    verified = machines[0].call(
        sys.executable, "-m", "pipeline", "verify", "--in-remote", "--store-remote", place.url, **place.environment
    )
    assert verified.returncode == 0, verified.stdout


def only_grows(seen, place):
    """Return the records in the remote; each that was there before must be there still, and unchanged."""
    store = place.open()
    names = [entry["path"] for page in obstore.list(store, "ac") for entry in page]
    now = {name: bytes(obstore.get(store, name).bytes()) for name in names}
    assert {name: now.get(name) for name in seen} == seen
    return now


def files(machine, stage):
    """Return the digests of a result's files, which may be in the remote alone."""
    return Record.known(machine.result(stage)).files
