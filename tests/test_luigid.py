"""Runs with a real luigid on loopback: what its page is told, and that they outlive it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.checkout import ROOT, STAGES

pytestmark = [pytest.mark.slow, pytest.mark.state("new")]

LONG = ("--TrainCNN-epochs", "60")


class Luigid:
    """luigid in a checkout, with the settings of luigid.cfg on a port of its own."""

    def __init__(self, checkout, address="127.0.0.1", **scheduler):
        self.address = address
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.port = probe.getsockname()[1]
        self.checkout = checkout
        shutil.copy(ROOT / "luigid.cfg", checkout.folder)
        place = {"default-scheduler-host": address, "default-scheduler-port": str(self.port)}
        checkout.set("core", file="luigid.cfg", **place, **{"rpc-retry-wait": "1"})
        checkout.set("scheduler", file="luigid.cfg", **scheduler)
        self.start()

    def start(self):
        program = "import sys; from luigi.cmdline import luigid; luigid(sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "--address", self.address, "--port", str(self.port)],
            cwd=self.checkout.folder,
            env=self.checkout.environment(LUIGI_CONFIG_PATH="luigid.cfg"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1):
                return
            time.sleep(0.05)
        raise AssertionError("luigid does not start")

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    def get(self, path):
        with urlopen(f"http://{self.address}:{self.port}{path}", timeout=30) as answer:
            return answer.read().decode()

    def tasks(self, name):
        """Return what luigid knows of a stage's tasks: one for each run, newest last."""
        found = json.loads(self.get("/api/task_search?" + urlencode({"data": json.dumps({"task_str": f"{name}_"})})))
        tasks = [dict(task, id=name) for group in found["response"].values() for name, task in group.items()]
        return [task for task in tasks if task["id"].startswith(f"{name}_")]

    def message(self, task):
        asked = urlencode({"data": json.dumps({"task_id": task["id"]})})
        return json.loads(self.get(f"/api/get_task_status_message?{asked}"))["response"]["statusMessage"] or ""

    def until(self, name, condition):
        deadline = time.monotonic() + 90
        while not any(map(condition, self.tasks(name))):
            assert time.monotonic() < deadline, self.tasks(name)
            time.sleep(0.05)


@pytest.fixture
def luigid(checkout):
    made = Luigid(checkout)
    yield made
    made.end()


def start(checkout, *flags):
    return checkout.start(*flags, LUIGI_CONFIG_PATH="luigid.cfg")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_outlives_a_restart(checkout, luigid, how):
    run = start(checkout, *LONG)
    luigid.until("TrainCNN", lambda task: task["status"] == "RUNNING")
    luigid.end(how)
    time.sleep(1)
    assert run.poll() is None
    luigid.start()
    printed = run.communicate(timeout=120)[0]
    assert run.returncode == 0, printed
    assert checkout.history()[-1]["stages"] == dict.fromkeys(STAGES, "computed")
    luigid.until("Report", lambda task: task["status"] == "DONE")


def test_the_page_shows_progress_messages_and_a_link_to_the_report(checkout, luigid):
    assert "Luigi Task Visualiser" in luigid.get("/static/visualiser/index.html")
    run = start(checkout, *LONG)
    luigid.until("TrainCNN", lambda task: task["progress_percentage"] and 0 < task["progress_percentage"] <= 100)
    luigid.until("TrainCNN", lambda task: re.match(r" +[0-9]+ +[0-9.]+ ", luigid.message(task)))  # an epoch's row
    run.communicate(timeout=120)
    [report] = luigid.tasks("Report")
    url = report["tracking_url"]
    assert url.startswith((checkout.folder / "outputs" / "latest" / "Report").as_uri())
    with urlopen(url) as opened:
        assert b"cifar" in opened.read().lower()


def test_the_link_to_the_report_goes_to_the_server_that_is_set(checkout, luigid):
    run = start(checkout, "--results-url", "https://host/results/")
    run.communicate(timeout=120)
    [report] = luigid.tasks("Report")
    assert report["tracking_url"].startswith("https://host/results/latest/Report/report.")
