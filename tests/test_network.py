"""Machines that share work over a network: the object store and luigid are on one host, each machine on its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.checkout import ROOT
from tests.network import Network, require_namespaces
from tests.object_store import BUCKET, Place
from tests.test_luigid import Luigid
from tests.test_shared_work import MLP, computed, ended, until

pytestmark = [pytest.mark.slow, pytest.mark.state("new")]

LONG = ("--TrainMLP-epochs", "1000")
"""Ten seconds."""

STORE = """
import sys
from tests.object_store import ObjectStore
print(ObjectStore(sys.argv[1]).endpoint, flush=True)
sys.stdin.read()
"""
"""An object store in a process of its own: obstore has threads that stay on the host on which they began."""


@pytest.fixture
def network():
    require_namespaces()
    with Network(hosts=2) as made:
        yield made


@pytest.fixture
def place(network):
    """An empty place in an object store on the hub."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with network.hub.entered():
        server = subprocess.Popen([sys.executable, "-c", STORE, network.hub.address], cwd=ROOT, **pipes)
    yield Place(f"s3://{BUCKET}/x", "writer", server.stdout.readline().strip())
    server.communicate()


@pytest.fixture
def luigid(network, checkout):
    """luigid on the hub, as people start it."""
    with network.hub.entered():
        made = Luigid(checkout, address=network.hub.address)
    yield made
    made.end()


@pytest.fixture
def start(network, machines, luigid, place):
    """Start the run of all machines, each on its host."""

    def started(*flags):
        shared = ["--luigid", f"{luigid.address}:{luigid.port}", "--store-remote", place.url]
        runs = []
        for host, machine in zip(network.hosts, machines, strict=True):
            with host.entered():
                runs.append(machine.start(*shared, *flags, task="EvaluateMLP", **place.environment))
        return runs

    return started


def test_machines_share_their_work(machines, start):
    for run in start():
        assert "WARNING" not in ended(run)
    assert Counter(stage for machine in machines for stage in computed(machine)) == Counter(MLP)


def test_a_stage_goes_on_elsewhere_while_its_machine_is_unplugged(network, machines, start):
    """Within the time that docs/how-to/clusters.md states; the machine ends well when it is plugged in again."""
    runs = start(*LONG)
    unplugged = unplug_one_that_trains(network, machines)
    other = 1 - unplugged
    until(lambda: is_training(machines[other]), seconds=120)
    ended(runs[other])
    assert "TrainMLP" in computed(machines[other])
    assert runs[unplugged].poll() is None
    network.plug(network.hosts[unplugged])
    told = ended(runs[unplugged])
    assert "test accuracy" in told
    assert "Traceback" not in told


def test_a_machine_that_stays_unplugged_gives_up(network, machines, start):
    for machine in machines:
        machine.edit("tasks/luigi_adapter/luigid.py", '"rpc_retry_attempts": "120"', '"rpc_retry_attempts": "2"')
    runs = start(*LONG)
    unplugged = unplug_one_that_trains(network, machines)
    told = ended(runs[unplugged], 40)
    assert re.search(r"^ERROR: Errors .* when connecting to .*: finished results are kept\.$", told, re.M)
    assert "Traceback" not in told
    ended(runs[1 - unplugged])


def unplug_one_that_trains(network, machines):
    """Wait until a machine trains, pull its cable, and return its number."""
    until(lambda: any(map(is_training, machines)))
    number = list(map(is_training, machines)).index(True)
    network.unplug(network.hosts[number])
    return number


def is_training(machine):
    return any(machine.folder.glob("outputs/checkpoints/TrainMLP-*/*"))
