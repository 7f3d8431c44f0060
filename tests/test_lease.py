from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from tests.made_up_machine import CARDS, write_driver, write_pytorch

ROOT = Path(__file__).parents[1]

FOUR = [card.uuid for card in CARDS]

HOLD = """
import os, sys
from pathlib import Path
from pipeline.engines import lease
from pipeline.progress.monitor import Monitor

class Printer(Monitor):
    def log(self, line):
        print(line, flush=True)

with lease.held(sys.argv[2:], Path(sys.argv[1]) / "gpus", Printer()):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
"""

AGAIN = """
import os, sys
from pathlib import Path
from pipeline.engines import lease
from pipeline.errors import DeviceError
from pipeline.progress.monitor import SILENT

first, second = sys.argv[2:]
for cards in ([first], [second, first], [second]):
    try:
        with lease.held(cards, Path(sys.argv[1]), SILENT):
            print(os.environ["CUDA_VISIBLE_DEVICES"])
    except DeviceError as error:
        print(error)
"""


SHOW = """
import os, sys
from pipeline.engines import devices, lease
from pipeline.errors import DeviceError

for device in sys.argv[1:]:
    try:
        lease.show(devices.choose("torch", device).cards)
        print(os.environ["CUDA_VISIBLE_DEVICES"])
    except DeviceError as error:
        print(error)
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a process which leases one of some GPUs until it reads a line."""
    with contextlib.ExitStack() as stack:

        def start(*cards, **variables):
            process = subprocess.Popen(
                [sys.executable, "-c", HOLD, tmp_path, *cards],
                cwd=ROOT,
                env=os.environ | {"CUDA_VISIBLE_DEVICES": "0"} | variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


class TestProcesses:
    def test_each_has_a_gpu_of_its_own_and_the_fifth_waits(self, start):
        processes = [start(*FOUR) for _ in range(4)]
        taken = [process.stdout.readline().strip() for process in processes]
        assert sorted(taken) == FOUR

        fifth = start(*FOUR)
        told = fifth.stdout.readline()
        assert told.startswith("waiting for a GPU, used by process ")
        assert all(f"process {process.pid} on " in told for process in processes)

        processes[2].send_signal(signal.SIGKILL)
        assert fifth.stdout.readline().strip() == taken[2]

    def test_it_is_given_back_and_the_variable_is_as_before(self, start):
        one = start(FOUR[0])
        assert one.stdout.readline().strip() == FOUR[0]
        other = start(FOUR[0])
        assert other.stdout.readline().startswith(f"waiting for the GPU, used by process {one.pid} on ")

        assert one.communicate("\n")[0] == "0\n"
        assert other.stdout.readline().strip() == FOUR[0]

    def test_the_first_is_preferred(self, start):
        assert start(FOUR[2], FOUR[1]).stdout.readline().strip() == FOUR[2]

    def test_a_part_of_a_gpu_has_its_own(self, start, tmp_path):
        assert start("MIG-GPU-1/2/0").stdout.readline() == "MIG-GPU-1/2/0\n"
        assert [path.name for path in (tmp_path / "gpus").iterdir()] == ["MIG-GPU-1-2-0.lock"]

    def test_no_gpu_no_lease(self, start, tmp_path):
        assert start().stdout.readline() == "0\n"
        assert list(tmp_path.iterdir()) == []

    def test_a_process_keeps_its_gpu(self, tmp_path):
        """CUDA, once initialised in a process, stays with its GPU."""
        command = [sys.executable, "-c", AGAIN, tmp_path, *FOUR[:2]]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

        first, again, refused = done.stdout.splitlines()
        assert first == again == FOUR[0]
        assert refused == (
            f"the GPU to take is {FOUR[1]}, but this process has computed on {FOUR[0]}, which CUDA cannot leave. "
            "Take --workers 2, with which each stage has a process of its own."
        )


class TestWithoutALease:
    """A notebook, which chooses again for each fit and each prediction."""

    @pytest.fixture
    def shown(self, tmp_path):
        """Return a function that chooses devices one after the other in a process, and returns what CUDA would see."""
        write_driver(tmp_path, *CARDS[:2])
        write_pytorch(tmp_path)
        variables = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "LD_LIBRARY_PATH": str(tmp_path)}

        def shown(*devices):
            command = [sys.executable, "-S", "-c", SHOW, *devices]
            environment = {"CUDA_VISIBLE_DEVICES": "1,0"} | variables
            return subprocess.check_output(command, cwd=ROOT, env=environment, text=True).splitlines()

        return shown

    def test_a_number_names_the_same_gpu_again(self, shown):
        assert shown("cuda:1", "cuda:1", "cuda", "auto") == [FOUR[0]] * 4

    def test_another_one_is_refused(self, shown):
        seen, refused = shown("cuda", "cuda:1")
        assert seen == f"{FOUR[1]},{FOUR[0]}"
        assert refused == (
            f"the GPU to take is {FOUR[0]}, but this process has computed on {FOUR[1]}, which CUDA cannot leave. "
            "Begin another process, or restart the notebook's kernel."
        )


ENGINE = '''
"""Compute as the numba engine does, wait for the others, and fail where two processes have the same GPU."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.engines.engine import Engine
from pipeline.engines.numba.engine import ENGINE as Numba


@dataclass(frozen=True)
class Recorded(Engine):
    def __post_init__(self):
        assert self.device == "cuda"

    def trainer(self, training):
        self._use()
        return Numba("cpu", self.threads).trainer(training)

    def probabilities(self, network, weights, images):
        print("computed on", os.environ["CUDA_VISIBLE_DEVICES"])
        return Numba("cpu", self.threads).probabilities(network, weights, images)

    def exponentials(self, vector, repeats):
        self._use()
        return Numba("cpu", self.threads).exponentials(vector, 1)

    def _use(self):
        card, expected = os.environ["CUDA_VISIBLE_DEVICES"], int(os.environ["AT_ONCE"])
        with open("taken", "a") as file:
            file.write(card + "\\n")
        place = Path(f"using-{card}")
        place.mkdir()
        deadline = time.monotonic() + 30
        while len(list(Path().glob("using-*"))) < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.monotonic() < deadline
        time.sleep(1)
        place.rmdir()


ENGINE = Recorded
'''


class TestRuns:
    """Runs of Luigi on a machine that is made up, with an engine that needs no GPU."""

    @pytest.fixture
    def checkout(self, tmp_path, states):
        checkout = states.copy("converted", tmp_path / "checkout")
        package = checkout.folder / "pipeline/engines/recorded"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "engine.py").write_text(ENGINE)
        checkout.edit("pipeline/engines/devices.py", "ENGINES = {\n", 'ENGINES = {\n    "recorded": Traits(),\n')
        machine = tmp_path / "machine"
        machine.mkdir()
        write_driver(machine, *CARDS[:2])
        write_pytorch(machine)
        return checkout

    @pytest.fixture
    def machine(self, checkout, tmp_path):
        """Return the environment variables of the machine."""
        return {
            "PYTHONPATH": f"{checkout.folder}{os.pathsep}{tmp_path / 'machine'}",
            "LD_LIBRARY_PATH": str(tmp_path / "machine"),
        }

    @pytest.fixture
    def run(self, checkout, machine):
        """Return a function that runs a task, and returns the GPUs that it took and what it printed."""

        def run(*flags, task="Pipeline", at_once=1, visible="0,1"):
            variables = machine | {"CUDA_VISIBLE_DEVICES": visible, "AT_ONCE": str(at_once)}
            process = checkout.start("--engine", "recorded", "--device", "cuda", *flags, task=task, **variables)
            printed = process.communicate(timeout=120)[0]
            assert process.returncode == 0, printed
            taken = checkout.folder / "taken"
            cards = taken.read_text().split() if taken.exists() else []
            taken.unlink(missing_ok=True)
            return cards, printed

        return run

    def test_two_workers_compute_on_two_gpus_at_once(self, run):
        cards, printed = run("--workers", "2", at_once=2)

        assert sorted(cards) == FOUR[:2]
        assert "waiting for" not in printed

    def test_two_workers_share_one_gpu_one_after_the_other(self, run):
        cards, printed = run("--workers", "2", visible="GPU-1132")

        assert cards == [FOUR[1]] * 2
        assert re.search(r"Train(MLP|CNN) \| waiting for the GPU, used by process \d+ on ", printed)

    def test_one_of_several_by_its_number(self, run):
        """The number is no part of the key."""
        assert run("--device", "cuda:1", task="TrainMLP", visible="1,0")[0] == [FOUR[0]]
        assert run("--device", "cuda", task="TrainMLP")[0] == []

    def test_a_run_with_nothing_to_do_asks_the_driver_once(self, run, tmp_path, monkeypatch):
        run(task="TrainMLP")
        monkeypatch.setenv("NVML_LOG", str(tmp_path / "log"))

        assert run(task="TrainMLP")[0] == []
        assert (tmp_path / "log").read_text() == "begun\n"

    def test_prediction_computes_on_it_without_a_lease(self, checkout, machine, run, tmp_path):
        run("--engine", "numba", "--device", "cpu", task="TrainMLP")
        PIL.Image.new("RGB", (32, 32)).save(tmp_path / "gray.png")
        command = [sys.executable, "-m", "pipeline", "predict", "--network", "mlp", "--engine", "recorded"]
        command += ["--device", "cuda:1", str(tmp_path / "gray.png")]
        variables = checkout.environment(**machine, CUDA_VISIBLE_DEVICES="0,1")
        done = subprocess.run(command, cwd=checkout.folder, env=variables, capture_output=True, text=True, check=True)

        assert done.stdout.startswith(f"computed on {FOUR[1]}\n")
        assert not (checkout.folder / ".cache/gpus").exists()

    @pytest.mark.parametrize("task", ["TrainMLP", "CheckDevice"])
    def test_a_folder_that_can_have_no_locks(self, checkout, machine, tmp_path, task):
        """Such as another user's, or one on a file system without locks."""
        (tmp_path / "gpus").touch()
        flags = ["--engine", "recorded", "--device", "cuda", "--cache-dir", str(tmp_path)]
        process = checkout.start(*flags, task=task, **machine)
        printed = process.communicate(timeout=120)[0]

        assert process.returncode == 30, printed
        assert f"ERROR: no GPU can be leased: {tmp_path}/gpus: File exists. Name another folder for" in printed
        assert "Traceback" not in printed

    def test_the_check_of_the_device(self, run):
        assert run("--device", "cuda:1", task="CheckDevice")[0] == [FOUR[1]]
