"""The files in ``examples/cluster/``: the script on a real Slurm of one node, the manifest by Kubernetes' schema."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections import Counter

import jsonschema
import pytest
import yaml

from tasks.configuration import make_variables
from tests.checkout import ROOT, STAGES
from tests.object_store import free_ports

EXAMPLES = ROOT / "examples" / "cluster"


OBJECTS = {each["kind"]: each for each in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())}
PODS = [OBJECTS[kind]["spec"]["template"] for kind in ("Job", "Deployment")]


class TestKubernetes:
    @pytest.mark.parametrize("kind", OBJECTS)
    def test_the_manifest_fits_the_schema(self, kind):
        definitions = json.loads((ROOT / "tests" / "golden" / "kubernetes.json").read_text())["$defs"]
        [name] = [name for name in definitions if name.endswith(f".{kind}")]
        schema = {"$ref": f"#/$defs/{name}", "$defs": definitions}
        jsonschema.validate(OBJECTS[kind], schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(OBJECTS[kind] | {"specs": {}}, schema)

    def test_its_parts_find_each_other(self):
        workers, luigid = (pod["metadata"]["labels"] for pod in PODS)
        policy = OBJECTS["NetworkPolicy"]["spec"]
        assert policy["podSelector"]["matchLabels"] == OBJECTS["Service"]["spec"]["selector"] == luigid
        assert policy["ingress"][0]["from"] == [{"podSelector": {"matchLabels": workers}}]
        images = {container["image"] for pod in PODS for container in pod["spec"]["containers"]}
        assert len(images) == 1
        assert images.pop() in (EXAMPLES / "Dockerfile").read_text()

    def test_its_command_is_one_of_make(self):
        program, target, *settings = PODS[0]["spec"]["containers"][0]["command"]
        given = dict(setting.split("=", 1) for setting in settings)
        assert (program, target) == ("make", "pipeline")
        assert given.keys() <= {*make_variables.flags_of_variables(), "ARGS"}
        assert given["SCHEDULER"] == f"{OBJECTS['Service']['metadata']['name']}:8082"


SLURM_CONF = """
ClusterName=test
SlurmctldHost=localhost
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/node
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName=localhost CPUs=3 RealMemory=2000
PartitionName=all Nodes=ALL Default=YES
"""
"""A cluster of this machine alone, which needs neither root nor a daemon for passwords."""


@pytest.fixture
def slurm(tmp_path):
    """A cluster of one node; the environment variables of its commands."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if not all(shutil.which(name, path=path) for name in ("slurmctld", "slurmd", "sbatch")):
        pytest.skip("there is no Slurm; `apt-get install slurmctld slurmd slurm-client` installs it")
    settings = {"user": getpass.getuser(), "ports": free_ports(2), "folder": tmp_path}
    (tmp_path / "slurm.conf").write_text(SLURM_CONF.format(**settings))
    (tmp_path / "state").mkdir()
    variables = {"SLURM_CONF": str(tmp_path / "slurm.conf"), "TMPDIR": str(tmp_path), "PATH": path}
    with running(["slurmctld", "-D"], variables), running(["slurmd", "-D", "-N", "localhost"], variables):
        wait_for(lambda: says("sinfo --noheader", " idle ", variables))
        yield variables
        subprocess.run(["scancel", "--state=running"], env=os.environ | variables, check=True)
        wait_for(lambda: not says("squeue --noheader", "localhost", variables))


@contextlib.contextmanager
def running(command, variables):
    """Run a daemon of Slurm."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | variables, **quiet)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(is_there):
    deadline = time.monotonic() + 60
    while not is_there():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def says(command, text, variables):
    """Return whether a command of Slurm prints a text."""
    environment = os.environ | variables
    return text in subprocess.run(command.split(), env=environment, capture_output=True, text=True, check=False).stdout


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
        return True
    return False


@pytest.mark.slow
@pytest.mark.xdist_group("makefile")
def test_an_array_of_tasks_shares_a_run_with_luigid_as_a_job(clone, slurm, tmp_path):
    [port] = free_ports(1)
    variables = shlex.join(f"{name}={value}" for name, value in slurm.items())
    one_core = "--cpus-per-task=1 --mem=500M"
    luigid = f"LUIGI_CONFIG_PATH=luigid.cfg exec .venv/bin/luigid --address $SLURMD_NODENAME --port {port}"
    clone.shell(f"make status && env {variables} sbatch {one_core} --job-name=luigid --wrap={shlex.quote(luigid)}")
    wait_for(lambda: says("squeue --name=luigid --noheader --format=%N", "localhost", slurm))
    wait_for(lambda: answers(port))

    shared = f"SCHEDULER=localhost:{port} REMOTE={(tmp_path / 'remote').as_uri()}"
    batch = f"sbatch --wait --array=0-1 {one_core} --output=%a.log examples/cluster/slurm.sh"
    clone.shell(f"env {variables} {batch} pipeline DEVICE=cpu ARCHIVE=mine.tar.gz EPOCHS=3 {shared}")
    printed = [(clone.folder / f"{task}.log").read_text() for task in (0, 1)]
    assert all("11 stages in " in text for text in printed), printed
    computed = [re.findall(r"\w+", line) for line in re.findall(r"^  computed: (.*)", "\n".join(printed), re.M)]
    assert Counter(itertools.chain(*computed)) == Counter(STAGES), printed
