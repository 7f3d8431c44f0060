"""Compile the kernels in a process of its own, while a run makes the data for its first training."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.checkout import KERNELS
from tests.processes import processes

PROGRAM = """
import sys
from luigi.cmdline import luigi_run
from numba.core import event

def note(event, arguments):
    if event == "subprocess.Popen" and "pipeline.engines.preparation" in arguments[1]:
        print("started", flush=True)

sys.addaudithook(note)
with event.install_recorder("numba:compile") as recorder:
    try:
        luigi_run(sys.argv[1:])
    finally:
        print("compiled", *(made.data["dispatcher"].py_func.__name__ for _, made in recorder.buffer))
"""
"""Luigi, which also prints a line for each process that it starts, and the kernels that it compiles itself."""

GRAYSCALE = "pipeline/data/grayscale.py"
BEGINNING = "    with open_dataset(source) as data:\n"

TRAINING = "    how = Hyperparameters(**hyperparameters)\n"

WAITS = """    import time
    while not list(Path({folder!r}).glob("kernels-*/lock")):
        time.sleep(0.01)
"""
"""The data are ready as soon as another process begins to compile."""

NEVER_ENDS = "    import time; time.sleep(60)\n"

FAILS = '    raise DatasetError("no data")\n'


@pytest.fixture
def kernels(tmp_path):
    """A folder without kernels."""
    return tmp_path / "kernels"


def run(checkout, *command, kernels):
    """Run Luigi; return the lines that `PROGRAM` prints, and all that is printed."""
    arguments = checkout.command(*command, *checkout.flags())[3:]
    done = checkout.python("-c", PROGRAM, *arguments, timeout=120, merged=True, NUMBA_CACHE_DIR=str(kernels))
    return [line for line in done.stdout.splitlines() if line.startswith(("started", "compiled"))], done.stdout


@pytest.mark.state("new")
def test_the_first_training_waits_for_the_kernels_and_compiles_none(checkout, kernels):
    checkout.edit(GRAYSCALE, BEGINNING, WAITS.format(folder=str(kernels)) + BEGINNING)
    (started, compiled), told = run(checkout, "TrainMLP", kernels=kernels)
    assert "numba: compiling the kernels, once on this machine; it takes about 13 seconds" in told
    assert started == "started"
    assert "train" not in compiled.split()
    [listed] = kernels.glob("kernels-*/digests.json")
    functions = sorted(name.split("/")[1].split("-")[0] for name in json.loads(listed.read_text()) if "nbc" in name)
    assert functions == ["worksharing.predict", "worksharing.train"]


@pytest.mark.state("new")
@pytest.mark.parametrize(
    "command",
    [("Pipeline", "--workers", "2"), ("Sweep", "--Sweep-learning-rate", "0.01,0.02")],
    ids=["two workers", "a sweep"],
)
def test_one_process_serves_all_trainings(checkout, kernels, command):
    checkout.edit(GRAYSCALE, BEGINNING, FAILS + BEGINNING)
    assert run(checkout, *command, kernels=kernels)[0] == ["started", "compiled"]


class TestNothingStarts:
    def test_where_nothing_is_to_do(self, checkout, kernels):
        assert run(checkout, "Pipeline", kernels=kernels)[0] == ["compiled"]

    def test_where_the_data_are_there(self, checkout, kernels):
        """The training would compile at once; this one fails before."""
        checkout.edit("pipeline/training/train.py", TRAINING, f'    raise DivergedError("no training")\n{TRAINING}')
        assert run(checkout, "TrainMLP", kernels=kernels)[0] == ["compiled"]

    def test_where_the_kernels_are_there(self, checkout):
        checkout.edit(GRAYSCALE, BEGINNING, FAILS + BEGINNING)
        assert run(checkout, "TrainMLP", kernels=KERNELS)[0] == ["compiled"]

    def test_where_nothing_is_to_be_trained(self, checkout, kernels):
        checkout.edit(GRAYSCALE, BEGINNING, FAILS + BEGINNING)
        assert run(checkout, "GrayscaleFlat", kernels=kernels)[0] == ["compiled"]


@pytest.mark.state("new")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_process_ends_with_the_run(checkout, kernels, number):
    checkout.edit(GRAYSCALE, BEGINNING, NEVER_ENDS + BEGINNING)
    process = checkout.start(task="TrainMLP", NUMBA_CACHE_DIR=str(kernels))
    wait_for(lambda: list(kernels.glob("kernels-*/lock")))
    assert len(preparing(process.pid)) == 1
    os.killpg(process.pid, number)
    process.communicate(timeout=30)
    wait_for(lambda: not preparing(process.pid))


def preparing(run):
    """Return the processes that prepare the engine for a run."""
    ending = f"-m pipeline.engines.preparation numba {run}"
    return [process for process in processes() if process.arguments.endswith(ending)]


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
