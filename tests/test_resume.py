"""Training that is broken off, and goes on: real processes, killed for real, and the same bytes in the end."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from pipeline.errors import EngineError
from pipeline.networks.weights import WEIGHTS_NAME
from pipeline.progress.monitor import SILENT
from pipeline.store import unfinished
from pipeline.store.stage import Stage
from pipeline.training.film import FILM_NAME
from pipeline.training.history import HISTORY_NAME
from pipeline.training.train import train
from tests import small_networks
from tests.available import ENGINES, ON_CPU, require
from tests.checkout import ROOT
from tests.monitors import RecordingMonitor
from tests.processes import processes
from tests.small_networks import dense, linear

NETWORK = small_networks.NETWORKS["like the article's"]
FILES = (WEIGHTS_NAME, HISTORY_NAME, FILM_NAME)
INTERRUPTED = (
    "Interrupted. Finished results are kept, and trainings to their last epoch: the same command resumes them."
)
TERMINATED = INTERRUPTED.replace("Interrupted", "Terminated")

TRAIN = """
import json, sys
from pathlib import Path
from pipeline.training.train import train
from pipeline.progress.monitor import Monitor

class Printed(Monitor):
    def log(self, line):
        print(line, flush=True)

output, images, checkpoints = map(Path, sys.argv[1:4])
train(output, images=images, checkpoints=checkpoints, monitor=Printed(), **json.loads(sys.argv[4]))
"""


LOSE_SIGNAL = """
import os, signal, weakref
from tasks.luigi_adapter import interrupts

class Thing:
    pass

interrupts.end_cleanly()
thing = Thing()
reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
del thing
print("went on", flush=True)
interrupts.raise_if_signalled()
print("never reached", flush=True)
"""


class Trainings:
    """Trainings on the same images, each with a folder for its result; some share one for their checkpoints."""

    def __init__(self, folder, network):
        self.folder = folder
        self.network = network
        self.checkpoints = folder / "checkpoints"
        self.images = folder / "images"
        self.images.mkdir()
        small_networks.write_examples(self.images, network, train=600)

    def settings(self, **changes):
        if changes.get("engine", "torch") == "torch":
            pytest.importorskip("torch")
        return {
            "network": "small",
            "architecture": self.network.to_json(),
            "engine": "torch",
            "device": "cpu",
            "seed": 1,
            "epochs": 5,
            "learning_rate": 0.05,
            "momentum": 0.9,
            "batch_size": 10,
            "validation_fraction": 0.25,
            "threads": 1,
        } | changes

    def output(self, name):
        (self.folder / name).mkdir(exist_ok=True)
        return self.folder / name

    def train(self, name, *, checkpoints=True, **changes):
        """Train in this process; return the lines that it said, and what it measured."""
        monitor = RecordingMonitor()
        kept = self.checkpoints if checkpoints else None
        settings = self.settings(**changes)
        measured = train(self.output(name), images=self.images, checkpoints=kept, monitor=monitor, **settings)
        return monitor.lines, measured

    def start(self, name, **changes):
        """Train in a process of its own."""
        arguments = [self.output(name), self.images, self.checkpoints, json.dumps(self.settings(**changes))]
        return subprocess.Popen([sys.executable, "-c", TRAIN, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def files(self, name):
        return {file: (self.folder / name / file).read_bytes() for file in FILES}


@pytest.fixture
def trainings(tmp_path):
    return Trainings(tmp_path, NETWORK)


def rows(lines):
    """Return the epochs whose rows are among these lines, and without how long they took."""
    found = (re.fullmatch(r"(?:\w+ \| )?( +\d+(?: +\d+\.\d+){4}) +\d+\.\d\ds(?: \*)?", line.rstrip()) for line in lines)
    return [match[1] for match in found if match]


KILLS = {"numba": 3, "torch": 1, "theano": 1}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_killed_at_any_moment_it_ends_with_the_same_bytes(trainings, engine):
    require(engine)
    kills = KILLS[engine]
    moments = random.Random(engine)
    epochs = 6 * kills
    trainings.train("undisturbed", checkpoints=False, engine=engine, epochs=epochs)
    reached = 0
    for _ in range(kills):
        process = trainings.start("disturbed", engine=engine, epochs=epochs)
        shown = itertools.islice(process.stdout, reached + moments.randint(4, 6) + (1 if reached else 0))
        reached = len(rows(list(shown)))
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.communicate()
    process = trainings.start("disturbed", engine=engine, epochs=epochs)
    printed = process.communicate(timeout=120)[0].splitlines()

    assert process.returncode == 0
    assert reached <= int(re.fullmatch(rf"resuming after epoch (\d+) of {epochs}", printed[1])[1]) < epochs
    assert len(rows(printed)) == epochs
    assert trainings.files("disturbed") == trainings.files("undisturbed")


def test_every_engine_is_killed():
    assert list(KILLS) == ON_CPU


class TestEpochs:
    def test_more_of_them_go_on_from_the_last(self, trainings):
        first, _ = trainings.train("5", epochs=5)
        trainings.train("straight to 8", epochs=8, checkpoints=False)

        lines, measured = trainings.train("8", epochs=8)

        assert lines[1] == "resuming after epoch 5 of 8"
        assert rows(lines)[:5] == rows(first)
        assert len(rows(lines)) == len(measured["epoch_seconds"]) == 8
        assert measured["resumed_from_epoch"] == 5
        assert trainings.files("8") == trainings.files("straight to 8")

    def test_fewer_of_them_begin_anew(self, trainings):
        trainings.train("8", epochs=8)
        trainings.train("straight to 3", epochs=3, checkpoints=False)

        lines, measured = trainings.train("3", epochs=3)

        assert not any("resuming" in line for line in lines)
        assert "resumed_from_epoch" not in measured
        assert trainings.files("3") == trainings.files("straight to 3")

    def test_as_many_of_them_need_no_training(self, trainings):
        trainings.train("once")

        lines, _ = trainings.train("again")

        assert lines[1] == "resuming after epoch 5 of 5"
        assert trainings.files("again") == trainings.files("once")


def test_a_damaged_checkpoint_costs_its_epoch(trainings):
    trainings.train("straight to 8", epochs=8, checkpoints=False)
    trainings.train("5", epochs=5)
    path = trainings.checkpoints / "epoch-5.h5"
    path.write_bytes(path.read_bytes()[:-1])

    lines, _ = trainings.train("8", epochs=8)

    assert lines[1:3] == [
        f"{path} is damaged: its SHA-256 is not the one that was written into it. It is not used.",
        "resuming after epoch 4 of 8",
    ]
    assert trainings.files("8") == trainings.files("straight to 8")


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_loss_that_is_no_number_fails_the_same_way_again(tmp_path, engine):
    """Nothing but linear layers, so that steps that are too long grow until float32 has no number for them."""
    trainings = Trainings(tmp_path, small_networks.network((10,), dense(8, linear), dense(6, linear)))
    wrong = {"engine": engine, "learning_rate": 10, "batch_size": 1000, "epochs": 9}
    told = []
    for _ in range(2):
        with pytest.raises(EngineError, match=r"^the loss is (nan|inf) in epoch \d, .* learning rate 10: ") as error:
            trainings.train("wrong", **wrong)
        told.append(str(error.value))

    assert told[0] == told[1]
    failed = int(re.search(r"epoch (\d)", told[0])[1])
    assert failed > 2
    kept = {path.name for path in trainings.checkpoints.iterdir()}
    assert kept == {f"epoch-{failed - 2}.h5", f"epoch-{failed - 1}.h5"}
    assert list((tmp_path / "wrong").iterdir()) == []


class TestFolder:
    """Which checkpoints a stage can go on from."""

    STAGE = Stage(
        name="TrainSmall",
        folder=Path("outputs"),
        function="pipeline.training.train:train",
        parameters={"epochs": 5, "learning_rate": 0.01},
        imports=("pipeline.engines.numba.engine:ENGINE",),
        libraries=("numpy",),
        length_parameter="epochs",
    )
    CONTENTS: ClassVar = {"images": "one"}

    def test_is_the_same_for_any_number_of_epochs(self):
        more = dataclasses.replace(self.STAGE, parameters={"epochs": 6, "learning_rate": 0.01})

        assert more.key != self.STAGE.key
        assert more.checkpoints(self.CONTENTS) == self.STAGE.checkpoints(self.CONTENTS)

    @pytest.mark.parametrize(
        "change",
        [
            {"parameters": {"epochs": 5, "learning_rate": 0.02}},
            {"name": "TrainOther"},
            {"imports": ("pipeline.engines.torch.engine:ENGINE",)},
            {"libraries": ("numpy", "h5py")},
        ],
        ids=["learning rate", "name", "code", "libraries"],
    )
    def test_is_another_where_the_steps_may_be(self, change):
        other = dataclasses.replace(self.STAGE, **change)

        assert other.checkpoints(self.CONTENTS) != self.STAGE.checkpoints(self.CONTENTS)

    def test_is_another_where_the_images_are(self):
        assert self.STAGE.checkpoints({"images": "other"}) != self.STAGE.checkpoints(self.CONTENTS)

    def test_is_lent_to_one_at_a_time(self, tmp_path):
        stage = dataclasses.replace(self.STAGE, folder=tmp_path)
        more = dataclasses.replace(stage, parameters={"epochs": 6, "learning_rate": 0.01})
        second = RecordingMonitor()
        lent = []

        def go_on():
            with unfinished.held(more, self.CONTENTS, second, restart=False) as kept:
                lent.append(list(kept["checkpoints"].iterdir()))

        thread = threading.Thread(target=go_on)
        with unfinished.held(stage, self.CONTENTS, SILENT, restart=False) as kept:
            thread.start()
            while not second.lines:
                time.sleep(0.01)
            kept["checkpoints"].mkdir()
            (kept["checkpoints"] / "epoch-5.h5").touch()
        thread.join()

        assert lent == [[kept["checkpoints"] / "epoch-5.h5"]]
        assert re.fullmatch(
            r"TrainSmall: waiting for process \d+ on \S+, which makes it with other epochs", second.lines[0]
        )

    def test_is_emptied_for_a_stage_that_is_forced(self, tmp_path):
        stage = dataclasses.replace(self.STAGE, folder=tmp_path)
        folder = stage.checkpoints(self.CONTENTS)
        folder.mkdir(parents=True)

        with unfinished.held(stage, self.CONTENTS, SILENT, restart=True) as kept:
            assert kept == {"checkpoints": folder}
            assert not folder.exists()

    def test_other_stages_have_none(self, tmp_path):
        stage = dataclasses.replace(self.STAGE, folder=tmp_path, length_parameter=None)

        with unfinished.held(stage, self.CONTENTS, SILENT, restart=False) as kept:
            assert kept == {}
        assert list(tmp_path.iterdir()) == []


def trained(checkout, outputs="outputs"):
    folder = checkout.folder / outputs / "latest" / "TrainMLP"
    return {file: (folder / file).read_bytes() for file in FILES}


def wait_for_epoch(process, number):
    """Read what the process prints until it shows the row of an epoch."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if len(rows(lines)) == number:
            return
    pytest.fail("".join(lines))


def alive(group):
    """Name the processes of a group that have not ended."""
    return [process.arguments for process in processes() if process.group == group]


@pytest.mark.state("converted")
class TestRun:
    """The same by Luigi, with the folders that it uses."""

    FLAGS = ("--TrainMLP-epochs", "300")

    def test_goes_on_unless_it_is_forced(self, checkout):
        process = checkout.start(*self.FLAGS, task="TrainMLP")
        wait_for_epoch(process, 12)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

        checkout.run("--TrainMLP-epochs", "30", task="TrainMLP")
        assert re.search(r"^resuming after epoch \d\d of 30$", checkout.output, re.MULTILINE)
        assert len(rows(checkout.output.splitlines())) == 30
        assert checkout.leftovers() == []
        disturbed = trained(checkout)

        checkout.run("--TrainMLP-epochs", "30", "--force", "TrainMLP", task="TrainMLP")
        assert "going on" not in checkout.output
        assert trained(checkout) == disturbed

        def removed(*flags):
            return checkout.pipeline("gc", "--keep-days", "0", "--dry-run", *flags, *checkout.flags())

        assert "checkpoints/TrainMLP-" not in removed()
        assert "checkpoints/TrainMLP-" not in removed("--seed", "7")  # `latest` leads to what came of them
        checkout.run("--seed", "7", task="TrainMLP")
        assert re.search(r"checkpoints/TrainMLP-\w+\n +checkpoints: epoch-29.h5, epoch-30.h5", removed("--seed", "7"))


@pytest.mark.state("converted")
class TestSignals:
    FLAGS = ("--TrainMLP-epochs", "100000")

    @pytest.mark.parametrize(
        ("number", "workers", "to"),
        [
            (signal.SIGINT, "2", os.killpg),
            (signal.SIGTERM, "1", os.kill),
            (signal.SIGTERM, "2", os.kill),
        ],
        ids=["Ctrl-C, two workers", "SIGTERM", "SIGTERM, two workers"],
    )
    def test_leave_nothing_behind(self, checkout, number, workers, to):
        process = checkout.start(*self.FLAGS, "--workers", workers, task="TrainMLP")
        wait_for_epoch(process, 2)
        to(process.pid, number)
        printed = process.communicate(timeout=60)[0]

        assert process.returncode == -number
        assert alive(process.pid) == []
        assert checkout.leftovers() == []
        assert printed.count(INTERRUPTED if number == signal.SIGINT else TERMINATED) == 1
        assert "Traceback" not in printed
        kept = [path.name for path in checkout.folder.glob("outputs/checkpoints/*/*")]
        assert all(re.fullmatch(r"epoch-\d+\.h5", name) for name in kept)
        assert len(kept) in (2, 3)  # the signal may come before the oldest one is removed

    def test_hold_where_python_drops_what_they_raise(self):
        process = subprocess.run(
            [sys.executable, "-c", LOSE_SIGNAL], cwd=ROOT, capture_output=True, text=True, check=False
        )

        assert process.returncode == -signal.SIGTERM
        assert process.stdout == "went on\n"
        assert process.stderr == f"\n{TERMINATED}\n"

    def test_workers_end_with_a_run_that_is_killed(self, checkout):
        process = checkout.start(*self.FLAGS, "--workers", "2", task="TrainMLP")
        wait_for_epoch(process, 2)
        process.kill()
        process.communicate(timeout=60)  # which lasts until the worker closes the pipe as well
        deadline = time.monotonic() + 30
        while running := alive(process.pid):
            assert time.monotonic() < deadline, running
            time.sleep(0.1)
