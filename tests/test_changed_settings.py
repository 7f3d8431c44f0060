"""The settings that a run records: those that are not the defaults and can change a result."""

from __future__ import annotations

import json
import sys

import pytest

from tests.checkout import ROOT

PROGRAM = """
import json, sys
from luigi.cmdline_parser import CmdlineParser
import tasks
from tasks.configuration.changed import changed

with CmdlineParser.global_instance(["Pipeline", *sys.argv[1:]]):
    print(json.dumps(changed()))
"""


@pytest.fixture(scope="module")
def checkout(states, tmp_path_factory):
    return states.copy("new", tmp_path_factory.mktemp("changed") / "checkout")


def changed(checkout, *flags):
    done = checkout.call(sys.executable, "-c", PROGRAM, *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_shipped_files_change_nothing(checkout):
    assert changed(checkout) == {}


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ("--TrainCNN-learning-rate 0.02", {"TrainCNN.learning_rate": "0.02"}),
        ("--DownloadCIFAR-archive /x.tar.gz --seed 7", {"DownloadCIFAR.archive": "/x.tar.gz", "settings.seed": "7"}),
        ("--versions-in-key true", {"settings.versions_in_key": "true"}),
        ("--theano-fastmath true --seed=0", {"theano.fastmath": "true", "settings.seed": "0"}),
        ("--data flowers --outputs-dir x", {"settings.data": "flowers", "settings.outputs_dir": "x"}),
        ("--engine auto --seed 42 --TrainMLP-on-engine torch", {"TrainMLP.on_engine": "torch"}),
        (
            "--DownloadCIFAR-sources https://me:pass@host/a?key=s3cret",
            {"DownloadCIFAR.sources": "https://host/a?..."},
        ),
    ],
)
def test_flags(checkout, flags, settings):
    assert changed(checkout, *flags.split()) == settings


@pytest.mark.parametrize(
    "flags",
    [
        "--threads 3 --force TrainCNN --cache-dir x --results-url http://host",
        "--workers 2 --log-level DEBUG",
        "--schedule-when-busy wait --gate-largest-drop 0.1",
        "--DownloadCIFAR-attempts 3 --DownloadCIFAR-minimum-rate 1",
    ],
)
def test_what_changes_no_result(checkout, flags):
    assert changed(checkout, *flags.split()) == {}


def test_files_and_flags_together(checkout):
    (checkout.folder / "local.cfg").write_text("[TrainMLP]\nmomentum = 0.5\nepochs = 7\n")
    try:
        assert changed(checkout, "--TrainMLP-epochs", "9") == {"TrainMLP.momentum": "0.5", "TrainMLP.epochs": "9"}
    finally:
        (checkout.folder / "local.cfg").unlink()


def test_a_run_records_them(checkout):
    checkout.run("--TrainMLP-epochs", "2", task="GrayscaleFlat")
    checkout.run("--epochs", "2", task="TrainMLP")

    flat, trained = [run["settings"] for run in checkout.history()]
    assert flat["TrainMLP.epochs"] == "2"
    assert flat["DownloadCIFAR.archive"] == str(checkout.archive)
    assert trained["TrainMLP.epochs"] == "2"


def test_a_task_that_is_given_a_setting_without_its_name(checkout):
    checkout.run("--network", "mlp2", "--epochs", "1", "--learning-rate", "0.03", "--from-seed", "0", task="Train")

    settings = checkout.history()[-1]["settings"]
    assert settings["Train.learning_rate"] == "0.03"
    assert settings["Train.from_seed"] == "0"
    assert "Train.network" not in settings


def test_luigi_cfg_has_the_declared_defaults(tmp_path, checkout):
    """Every setting of ours stands in the file that is shipped, with the value that it has without the file."""
    program = """
import configparser, sys
import luigi, tasks
from tasks import stages
from tasks.settings import gate, schedule, settings, theano, torch

file = configparser.RawConfigParser()
file.optionxform = str
file.read(sys.argv[1])
for task in (settings, theano, torch, gate, schedule, *stages.stage_classes()):
    for name, parameter in task.get_params():
        if file.has_option(task.task_family, name):
            value = file.get(task.task_family, name)
            default = parameter._default
            same = value.split() == default.split() if isinstance(default, str) else parameter.parse(value) == default
            assert same, (task.task_family, name, value, default)
        else:
            assert not parameter.always_in_help or name == "network", (task.task_family, name)
print("compared")
"""
    done = checkout.call(sys.executable, "-c", program, str(ROOT / "luigi.cfg"), cwd=tmp_path)
    assert done.stdout == "compared\n", done.stderr
