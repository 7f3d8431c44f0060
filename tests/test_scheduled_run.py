"""The run that a timer starts: alone, logged, told of, and failing where anything fails."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.operations.notices import Notice
from tests.checkout import LONG, ROOT, STAGES
from tests.killing import at_work

pytestmark = pytest.mark.state("scheduled")


class Runs:
    """Scheduled runs in a checkout."""

    def __init__(self, checkout):
        self.checkout = checkout
        self.outputs = checkout.folder / "outputs"

    def start(self, *flags, **environment):
        return subprocess.Popen(
            [sys.executable, "-m", "tasks.scheduled", *self.checkout.flags(), *flags],
            cwd=self.checkout.folder,
            env=self.checkout.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *flags, program=("-m", "tasks.scheduled"), status=0, **environment):
        command = (*program, *self.checkout.flags(), *flags)
        done = self.checkout.python(*command, timeout=120, merged=True, **environment)
        self.printed = done.stdout
        assert done.returncode == status, self.printed + self.log()
        return self.status()

    def status(self):
        return json.loads((self.outputs / "status.json").read_text())

    def until(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def state(self):
        try:
            return self.status()["state"]
        except FileNotFoundError:
            return None

    def log(self):
        path = self.outputs / "logs" / "scheduled.log"
        return path.read_text() if path.exists() else ""

    def metrics(self):
        """Return each sample by its name, the outputs folder aside."""
        families = list(text_string_to_metric_families((self.outputs / "metrics.prom").read_text()))
        assert {family.type for family in families} == {"gauge"}
        assert all(family.documentation for family in families)
        found = {}
        for sample in (sample for family in families for sample in family.samples):
            labels = dict(sample.labels)
            assert labels.pop("outputs") == str(self.outputs.resolve())
            name = sample.name.removeprefix("faster_deep_learning_")
            found[" ".join([name, *labels.values()])] = sample.value
        return found


@pytest.fixture(scope="module")
def first(states):
    """The first run in a checkout, which nothing is to change."""
    return Runs(states.shared("scheduled"))


@pytest.fixture
def runs(checkout):
    return Runs(checkout)


def seconds(moment):
    return datetime.fromisoformat(moment).timestamp()


class TestStatus:
    def test_of_a_run_that_did_all(self, first):
        status = first.status()
        assert status["state"] == "ok"
        assert status["exit_status"] == 0
        assert status["stages"] == dict.fromkeys(STAGES, "computed")
        assert status["counts"] == {"computed": len(STAGES), "adopted": 0, "reused": 0, "not made": 0}
        assert set(status["accuracy"]) == {"mlp", "cnn"}
        assert status["message"] is None
        assert status["started"] <= status["ended"] == status["last_success"]
        assert 0 < status["seconds"] < 1000

    def test_of_a_run_that_had_nothing_to_do(self, runs):
        status = runs.run()
        assert status["counts"]["reused"] == len(STAGES)
        assert runs.printed == ""

    def test_of_a_run_that_failed(self, runs):
        before = runs.run()
        status = runs.run("--TrainCNN-learning-rate", "1e30", status=30)
        assert status["state"] == "failed"
        assert status["exit_status"] == 30
        assert status["stages"]["TrainCNN"] == "not made"
        assert status["message"].startswith("the loss is nan in epoch 1")
        assert status["last_success"] == before["last_success"]
        assert "failed with exit status 30" in runs.printed
        assert "the loss is nan" in runs.printed

    def test_of_settings_that_make_no_sense(self, runs):
        status = runs.run("--TrainCNN-epochs", "0", status=40)
        assert "epochs is 0; expected a whole number from 1" in status["message"]

    def test_of_a_gate_that_stays_shut(self, runs):
        status = runs.run("--gate-minimum-accuracy-mlp", "0.99", status=30)
        assert status["message"].startswith("EvaluateMLP: test accuracy ")
        assert status["counts"]["reused"] == len(STAGES)

    def test_of_the_report_has_the_command_that_does_the_same(self, runs):
        hook = "http://127.0.0.1:9/SECRET"
        runs.run("--force", "Report", "--schedule-on-failure-webhook", hook)
        page = (runs.outputs / "report.html").read_text()
        assert "luigi --module tasks Pipeline --DownloadCIFAR-archive" in page
        assert "SECRET" not in page

    def test_that_cannot_be_written_fails_the_run(self, runs):
        (runs.outputs / "metrics.prom").unlink(missing_ok=True)
        (runs.outputs / "metrics.prom").mkdir()
        before = json.loads((runs.outputs / "status.json").read_text())
        status = runs.run(status=1)
        told = "outputs/metrics.prom is a folder; expected the name of a file, which is written or replaced."
        assert told in runs.log()
        assert f"failed with exit status 1.\n{told}\nThe log is " in runs.printed
        assert (status["state"], status["exit_status"], status["message"]) == ("failed", 1, told)
        assert status["last_success"] == before["last_success"]

    def test_that_is_to_replace_a_folder_is_refused_at_once(self, runs, tmp_path):
        process = runs.start("--schedule-metrics-file", str(tmp_path))
        printed = process.communicate(timeout=60)[0]
        assert process.returncode == 40
        assert printed == (
            f"schedule.metrics_file is '{tmp_path}', which is a folder; expected a file, such as "
            f"{tmp_path / 'pipeline.prom'}.\n"
        )


SUPERVISED = """
import os, resource, shutil, sys
from pathlib import Path
from pipeline.operations.notices import Notice
from pipeline.operations.supervisor import Supervisor

outputs, work = Path(sys.argv[1]), sys.argv[2]
supervisor = Supervisor("f" * 12, outputs, 10, 1000, 2, outputs / "metrics.prom", Notice("echo", "", 10))
sys.exit(supervisor.supervise(lambda: exec(work), []))
"""


class TestDisk:
    def start(self, outputs, work):
        command = [sys.executable, "-c", SUPERVISED, outputs, work]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    @pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")
    def test_that_is_full_at_the_end_is_told(self, tmp_path):
        """A limit on the size of files stands for a disk that the work fills."""
        done = self.start(
            tmp_path, "resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))"
        )
        assert done.returncode == 1
        assert "failed with exit status 1." in done.stderr
        assert "metrics.prom cannot be written (File too large). Check its folder and its disk." in done.stderr
        assert "Traceback" not in done.stderr

    def test_whose_log_is_removed_meanwhile_is_told(self, tmp_path):
        done = self.start(tmp_path, "shutil.rmtree(outputs / 'logs'); os._exit(3)")
        assert done.returncode == 3
        assert "failed with exit status 3." in done.stderr
        assert json.loads((tmp_path / "status.json").read_text())["state"] == "failed"
        assert "Traceback" not in done.stderr

    def test_without_a_log_does_not_begin(self, tmp_path):
        (tmp_path / "logs").touch()
        assert self.start(tmp_path, "pass").returncode == 1
        assert [path.name for path in tmp_path.iterdir()] == ["logs"]


WITHOUT_LINUX = """
import ctypes, os, runpy, sys
import h5py, numpy, tasks  # while they load, they look at the real system

def library(_):
    raise OSError("no prctl here")

sys.platform, ctypes.CDLL = "darwin", library
del os.sched_getaffinity
runpy.run_module("tasks.scheduled", run_name="__main__", alter_sys=True)
"""


class TestOtherSystems:
    def test_need_nothing_that_only_linux_has(self, runs):
        status = runs.run("--force", "GrayscaleFlat", program=("-c", WITHOUT_LINUX))
        assert status["state"] == "ok"
        assert status["stages"]["GrayscaleFlat"] == "computed"


class TestMetrics:
    def test_of_a_run_that_had_nothing_to_do(self, runs):
        status = runs.run()
        figures = runs.metrics()
        assert figures["last_run_success"] == 1
        assert figures["last_run_timestamp_seconds"] == seconds(status["ended"])
        assert figures["last_success_timestamp_seconds"] == seconds(status["ended"])
        assert figures["last_run_duration_seconds"] == status["seconds"]
        assert figures["last_run_stages reused"] == len(STAGES)
        assert figures["last_run_stages computed"] == 0
        assert figures["test_accuracy_ratio mlp"] == status["accuracy"]["mlp"]
        assert figures["test_accuracy_ratio cnn"] == status["accuracy"]["cnn"]

    def test_of_a_run_that_failed(self, runs):
        success = runs.run()["ended"]
        runs.run("--TrainCNN-learning-rate", "1e30", status=30)
        figures = runs.metrics()
        assert figures["last_run_success"] == 0
        assert figures["last_success_timestamp_seconds"] == seconds(success)
        assert figures["last_run_stages not_made"] == 4  # the training, its histories, the evaluation, the report

    def test_go_where_the_collector_reads_them(self, runs, tmp_path):
        runs.run("--schedule-metrics-file", str(tmp_path / "collector" / "pipeline.prom"))
        assert [path.name for path in (tmp_path / "collector").iterdir()] == ["pipeline.prom"]
        assert stat.S_IMODE((tmp_path / "collector" / "pipeline.prom").stat().st_mode) & 0o044

    def test_name_a_folder_with_quotes_as_the_format_wants_it(self, runs):
        outputs = 'out "a\\b'
        shutil.copytree(runs.outputs, runs.checkout.folder / outputs, symlinks=True)
        runs.start("--outputs-dir", outputs).communicate()
        runs.outputs = runs.checkout.folder / outputs
        assert runs.metrics()["last_run_success"] == 1


class TestLog:
    def test_has_what_the_run_printed_in_plain_lines(self, first):
        log = first.log()
        assert "TrainCNN (stage 6 of 11): computed" in log
        assert "ended with exit status 0" in log
        assert "\x1b" not in log
        assert "\r" not in log

    def test_is_put_away_when_it_is_full(self, runs):
        for _ in range(3):
            runs.run("--schedule-log-bytes", "10", "--schedule-log-files", "2")
        logs = sorted(path.name for path in (runs.outputs / "logs").iterdir())
        assert logs == ["scheduled.log", "scheduled.log.1", "scheduled.log.2"]
        assert runs.log().count(" begins: ") == 1


class TestOneAtATime:
    def test_a_second_run_says_who_is_at_work_and_since_when(self, runs):
        first = runs.start(*LONG)
        runs.until(lambda: runs.state() == "running")
        second = runs.start()
        printed = second.communicate(timeout=60)[0]
        assert second.returncode == 10
        assert (
            f"process {first.pid} on {os.uname().nodename} has run the pipeline since {datetime.now(UTC):%Y-}"
            in printed
        )
        assert runs.state() == "running"
        first.terminate()
        first.communicate(timeout=60)
        assert first.returncode == 128 + signal.SIGTERM

    def test_a_second_run_waits_where_that_is_set(self, runs):
        first = runs.start(*LONG)
        runs.until(lambda: runs.state() == "running")
        second = runs.start("--schedule-when-busy", "wait")
        assert f"process {first.pid}" in second.stdout.readline()
        first.terminate()
        first.communicate(timeout=60)
        second.communicate(timeout=60)
        assert second.returncode == 0
        assert runs.state() == "ok"

    def test_a_run_that_has_waited_runs_the_code_that_is_there_then(self, runs):
        first = runs.start(*LONG)
        runs.until(lambda: runs.state() == "running")
        second = runs.start("--schedule-when-busy", "wait")
        assert f"process {first.pid}" in second.stdout.readline()
        in_order = "for name, shape in layer.weight_shapes.items()}"
        runs.checkout.edit(
            "pipeline/networks/declaration.py",
            f"for layer in self.layers {in_order}",
            f"for layer in reversed(self.layers) {in_order}",
        )
        first.terminate()
        first.communicate(timeout=60)
        second.communicate(timeout=60)
        assert second.returncode == 0
        weights = {stage: runs.checkout.result(stage) / "weights.h5" for stage in ("TrainMLP", "TrainCNN")}
        found = {stage: path.read_bytes() for stage, path in weights.items()}
        forced = runs.run("--force", "TrainMLP,TrainCNN")
        assert forced["stages"]["TrainMLP"] == forced["stages"]["TrainCNN"] == "computed"
        assert {stage: path.read_bytes() for stage, path in weights.items()} == found

    def test_the_lock_dies_with_its_owner_and_the_work_with_it(self, runs):
        first = runs.start(*LONG)
        runs.until(lambda: runs.checkout.status(*LONG)["TrainMLP"]["state"] == "running")
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=60)
        runs.until(lambda: runs.checkout.status(*LONG)["TrainMLP"]["state"] == "to run")
        assert runs.run()["state"] == "ok"


class TestKilled:
    def test_a_run_that_is_stopped_ends_its_work_and_is_told(self, runs):
        process = runs.start(*LONG)
        runs.until(lambda: runs.checkout.status(*LONG)["TrainMLP"]["state"] == "running")
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        assert runs.state() == "failed"
        assert runs.checkout.status(*LONG)["TrainMLP"]["state"] == "to run"

    def test_work_that_runs_out_of_memory_is_told(self, runs):
        """The kernel's way of saying so is SIGKILL, to the process that has most."""
        process = runs.start(*LONG)
        runs.until(lambda: runs.checkout.status(*LONG)["TrainMLP"]["state"] == "running")
        why = runs.checkout.status(*LONG)["TrainMLP"]["why"][0]
        os.kill(int(why.split()[2]), signal.SIGKILL)
        printed = process.communicate(timeout=60)[0]
        assert process.returncode == 128 + signal.SIGKILL
        assert "Killed by SIGKILL" in printed
        assert runs.metrics()["last_run_success"] == 0


class Receiver:
    """A real web server that keeps what is posted to it."""

    def __init__(self, answer=200):
        receiver = self
        self.received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
                self.send_response(answer)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self):
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/SECRET?token=SECRET"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


FAILING = ("--TrainCNN-epochs", "0")


class TestNotices:
    def test_a_command_gets_the_message(self, runs, tmp_path):
        script = tmp_path / "tell me"
        script.write_text('#!/bin/sh\ncat > "$1"; echo "$PIPELINE_EXIT_STATUS" >> "$1"; echo told\n')
        script.chmod(0o755)
        runs.run(*FAILING, "--schedule-on-failure-command", f"'{script}' '{tmp_path}/message'", status=40)
        message = (tmp_path / "message").read_text()
        assert "epochs is 0; expected a whole number from 1" in message
        assert message.endswith("40\n")
        assert "\ntold\n" in runs.log()

    def test_a_webhook_gets_json(self, runs):
        runs.checkout.set("schedule", on_failure_webhook="${PIPELINE_WEBHOOK}")
        with Receiver() as receiver:
            runs.run(*FAILING, PIPELINE_WEBHOOK=receiver.url, status=40)
        [(path, kind, body)] = receiver.received
        assert path == "/hooks/SECRET?token=SECRET"
        assert kind == "application/json"
        assert "epochs is 0; expected a whole number from 1" in body["text"]
        assert body["exit_status"] == 40
        assert body["checkout"] == str(runs.checkout.folder)
        assert "127.0.0.1 was notified of the failure" in runs.log()
        assert "SECRET" not in runs.log() + runs.printed

    @pytest.mark.parametrize(("answer", "fault"), [(500, "answered 500"), (302, "redirects"), (None, "refused")])
    def test_a_webhook_that_fails_is_logged_without_its_secrets_and_hides_nothing(self, runs, answer, fault):
        with Receiver(answer or 200) as receiver:
            url = receiver.url if answer else "http://127.0.0.1:9/hooks/SECRET"
            runs.run(*FAILING, "--schedule-on-failure-webhook", url, status=40)
        assert fault in runs.log().partition("The notice of the failure failed: ")[2]
        assert "SECRET" not in runs.log() + runs.printed

    def test_a_webhook_that_the_environment_lacks_is_said_at_once(self, runs):
        runs.checkout.set("schedule", on_failure_webhook="${NO_SUCH_VARIABLE}")
        process = runs.start()
        printed = process.communicate(timeout=60)[0]
        assert process.returncode == 40
        assert "NO_SUCH_VARIABLE" in printed
        assert "Traceback" not in printed

    def test_none_is_given_of_a_run_without_a_failure(self, runs, tmp_path):
        runs.run("--schedule-on-failure-command", f"touch {tmp_path}/told")
        assert not (tmp_path / "told").exists()

    def test_a_blank_command_is_none(self):
        assert list(Notice(" ", " ", 1).send("text", {}, subprocess.DEVNULL)) == []

    @pytest.mark.parametrize(
        ("command", "fault"),
        [
            ("no-such-command", "No such file or directory"),
            ("false", "false ended with exit status 1"),
            ("sleep 100", "sleep took longer than 0.5 seconds"),
            ("echo 'unbalanced", "No closing quotation"),
        ],
    )
    def test_a_command_that_fails_is_logged_and_hides_nothing(self, runs, command, fault):
        flags = ("--schedule-on-failure-command", command, "--schedule-notice-seconds", "0.5")
        runs.run(*FAILING, *flags, status=40)
        assert "The notice of the failure failed: " in runs.log()
        assert fault in runs.log()

    def test_a_command_that_takes_too_long_is_ended_with_what_it_started(self, runs, tmp_path):
        command = f"sh -c '(touch {tmp_path}/begun; sleep 100; touch {tmp_path}/late) & sleep 100'"
        flags = ("--schedule-on-failure-command", command, "--schedule-notice-seconds", "3")
        runs.run(*FAILING, *flags, status=40)
        assert "sh took longer than 3.0 seconds" in runs.log()
        assert (tmp_path / "begun").exists()
        runs.until(lambda: not at_work(runs.checkout.folder))
        assert not (tmp_path / "late").exists()
