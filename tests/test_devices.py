from __future__ import annotations

import ctypes.util
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pipeline.engines import devices
from pipeline.engines.devices import Choice
from pipeline.engines.engine import load_engine
from pipeline.errors import DeviceError, SettingError
from tests.available import ON_CPU, require
from tests.made_up_machine import (
    CARDS,
    EXCLUSIVE_PROCESS,
    PROHIBITED,
    Card,
    write_driver,
    write_library,
    write_program,
    write_pytorch,
)

ROOT = Path(__file__).parents[1]

CHOOSE = """
import dataclasses, json, sys
from pipeline.engines import devices
from pipeline.errors import PipelineError

try:
    print(json.dumps(dataclasses.astuple(devices.choose(*sys.argv[1:]))))
except PipelineError as error:
    print(json.dumps(str(error)))
"""


class TestSettings:
    @pytest.mark.parametrize(
        ("requested", "hint"),
        [
            ("cdua", " Did you mean 'cuda'?"),
            ("", ""),
            ("CPU", ""),
            ("cuda:", " Did you mean 'cuda'?"),
            ("cuda:x", " Did you mean 'cuda'?"),
            ("cuda:-1", " Did you mean 'cuda'?"),
            ("cuda:1,2", " Did you mean 'cuda'?"),
            ("cuda:\u0661", " Did you mean 'cuda'?"),
            ("cpu:0", " Did you mean 'cpu'?"),
        ],
    )
    @pytest.mark.parametrize("engine", ["auto", "torch"])
    def test_refuses_an_unknown_device(self, engine, requested, hint):
        expected = "expected auto, cpu, cuda, or one of several GPUs: cuda:0, cuda:1."
        with pytest.raises(SettingError, match=re.escape(f"device is {requested!r}; {expected}{hint}") + "$"):
            devices.choose(engine, requested)

    @pytest.mark.parametrize("device", devices.DEVICES)
    def test_refuses_an_unknown_engine(self, device):
        with pytest.raises(SettingError, match=r"^engine is 'troch'; expected auto, .*torch.* Did you mean 'torch'\?$"):
            devices.choose("troch", device)

    @pytest.mark.parametrize("engine", ON_CPU)
    def test_the_cpu(self, engine):
        if engine == "torch":
            require(engine)
        assert devices.choose(engine, "cpu") == Choice(engine, "cpu", "it was asked for")
        devices.check_engine(engine)

    def test_auto_on_the_cpu_is_numba(self):
        assert devices.choose("auto", "cpu") == Choice("numba", "cpu", "it was asked for")

    def test_an_engine_for_the_cpu_alone(self):
        problem = "the numba engine has kernels for the CPU only; --engine torch uses CUDA"

        assert devices.choose("numba", "auto") == Choice("numba", "cpu", f"no CUDA: {problem}")
        with pytest.raises(DeviceError, match=rf"^device is cuda, but {re.escape(problem)}\. Use --device cpu, or"):
            devices.choose("numba", "cuda")

    @pytest.mark.parametrize("engine", ["numba", "torch"])
    def test_an_engine_of_this_environment_names_its_libraries(self, engine):
        assert engine in devices.ENGINES[engine].libraries

    @pytest.mark.parametrize("engine", ON_CPU)
    def test_an_engine_is_loaded_for_a_device_and_a_number_of_threads(self, engine):
        for device in ("auto", "gpu"):
            with pytest.raises(SettingError, match=rf"^device is '{device}'; expected cpu or cuda\."):
                load_engine(engine, device)
        for threads in (0, -1):
            with pytest.raises(SettingError, match=rf"^threads is {threads}; expected a whole number from 1\.$"):
                load_engine(engine, threads=threads)

    def test_theano_has_none_in_this_environment(self):
        assert devices.ENGINES["theano"].libraries == ()


class TestThisMachine:
    def test_agrees_with_pytorch(self):
        torch = pytest.importorskip("torch")

        chosen = devices.choose("torch", "auto")

        assert chosen.device == ("cuda" if torch.cuda.is_available() else "cpu")
        assert devices.choose("auto", "auto").device == chosen.device

    def test_imports_no_engine(self):
        """A process that has initialised CUDA cannot hand it to the workers that it forks."""
        code = (
            "import sys; from pipeline.engines import devices; devices.choose('auto', 'auto'); "
            "print({'torch', 'numba'} & sys.modules.keys())"
        )

        assert run(code, os.environ) == "set()\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that chooses in a process without this environment's libraries."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda device="auto", engine="auto": json.loads(run(CHOOSE, os.environ, engine, device, alone=True))


@pytest.fixture
def pytorch(tmp_path):
    write_pytorch(tmp_path)


class TestOtherMachines:
    """Processes that find other libraries than this one; `devices` looks only at which are installed."""

    def test_no_pytorch(self, machine, tmp_path):
        write_driver(tmp_path, CARDS[0])
        problem = "PyTorch is not installed; `make pipeline ENGINE=torch` installs it"

        assert machine() == ["numba", "cpu", f"no CUDA: {problem}", []]
        assert machine("cuda").startswith(f"device is cuda, but {problem}. Use --device cpu, or")
        assert machine(engine="torch").startswith(f"engine is torch, but {problem}, and so does `python -m")

    @pytest.mark.parametrize("version", ["2.13.0+cpu", "2.13.0"])
    def test_pytorch_without_cuda(self, machine, tmp_path, version):
        """PyPI's build for macOS, and those of some distributions, have no ``+cpu`` in their version."""
        write_driver(tmp_path, CARDS[0])
        write_pytorch(tmp_path, version, cuda=None)

        assert machine() == ["numba", "cpu", f"no CUDA: PyTorch {version} was built without CUDA", []]

    @pytest.mark.parametrize("version", [None, "", "%%", "__version__ = '2.13.0'\ncuda = 'thirteen'"])
    def test_pytorch_that_is_not_whole(self, machine, tmp_path, pytorch, version):
        """Such as one that pip was killed at."""
        write_driver(tmp_path, CARDS[0])
        path = tmp_path / "torch/version.py"
        path.unlink() if version is None else path.write_text(version)
        problem = "PyTorch is not installed; `make pipeline ENGINE=torch` installs it"

        assert machine() == ["numba", "cpu", f"no CUDA: {problem}", []]
        for device in ("auto", "cpu", "cuda"):
            assert machine(device, "torch").startswith(f"engine is torch, but {problem}")

    def test_pytorch_for_rocm(self, machine, tmp_path):
        write_driver(tmp_path, CARDS[0])
        write_pytorch(tmp_path, "2.13.0+rocm7.2", cuda=None, hip="7.2.1")

        reason = "no CUDA: PyTorch 2.13.0+rocm7.2 was built for ROCm, which is untested here"
        assert machine() == ["numba", "cpu", reason, []]

    @pytest.mark.skipif(
        ctypes.util.find_library("nvidia-ml") is not None, reason="there is an NVIDIA driver on this machine"
    )
    def test_no_driver(self, machine, pytorch):
        assert machine()[2] == "no CUDA: there is no NVIDIA driver (no libnvidia-ml.so.1)"

    def test_a_gpu(self, machine, tmp_path, pytorch):
        write_driver(tmp_path, CARDS[0])
        cards = [CARDS[0].uuid]

        assert machine("auto", "torch") == ["torch", "cuda", "PyTorch and a GPU are there", cards]
        assert machine("cuda", "torch") == ["torch", "cuda", "it was asked for", cards]
        assert machine("auto", "numba")[:2] == ["numba", "cpu"]
        assert machine("cpu", "torch") == ["torch", "cpu", "it was asked for", []]
        assert machine("cpu") == ["numba", "cpu", "it was asked for", []]

    def test_a_driver_that_does_not_answer(self, machine, tmp_path, pytorch):
        write_driver(tmp_path, CARDS[0], init=9)

        assert machine()[2] == "no CUDA: the NVIDIA driver does not answer (nvmlInit_v2: NVML error 9)"

    def test_a_driver_without_a_gpu(self, machine, tmp_path, pytorch):
        write_driver(tmp_path)

        assert machine()[2] == "no CUDA: the NVIDIA driver finds no GPU"

    def test_a_driver_that_cannot_count(self, machine, tmp_path, pytorch):
        write_driver(tmp_path, CARDS[0], status=3)

        assert machine()[2] == "no CUDA: the NVIDIA driver does not answer (nvmlDeviceGetCount_v2: NVML error 3)"


class TestVersions:
    """The driver, the GPU and the build of PyTorch must fit each other."""

    @pytest.mark.parametrize(
        ("built", "driver", "capability"),
        [
            ("13.0", 13000, (7, 5)),
            ("13.2", 13000, (9, 0)),
            ("12.6", 13000, (9, 0)),
            ("12.9", 12040, (12, 0)),
            ("12.6", 12060, (5, 0)),
        ],
    )
    def test_that_fit(self, machine, tmp_path, built, driver, capability):
        write_driver(tmp_path, Card("GPU-1", capability=capability), cuda=driver)
        write_pytorch(tmp_path, cuda=built)

        assert machine()[:2] == ["torch", "cuda"]

    @pytest.mark.parametrize(("driver", "newest"), [(12080, "12.8"), (11040, "11.4")])
    def test_a_driver_that_is_too_old(self, machine, tmp_path, pytorch, driver, newest):
        write_driver(tmp_path, CARDS[0], cuda=driver)
        problem = (
            f"PyTorch 2.13.0 was built for CUDA 13.0, and the NVIDIA driver runs CUDA {newest}: install a newer "
            "driver, or `make pipeline ENGINE=torch` installs the build for this machine"
        )

        assert machine() == ["numba", "cpu", f"no CUDA: {problem}", []]
        assert machine("cuda") == f"device is cuda, but {problem}. Use --device cpu, or --device auto."

    def test_a_driver_older_than_its_function(self, machine, tmp_path, pytorch):
        write_driver(tmp_path, CARDS[0], cuda=0)

        assert machine()[2] == "no CUDA: the NVIDIA driver is older than CUDA 10; install a newer one"

    @pytest.mark.parametrize(
        ("built", "capability", "expected"),
        [("13.0", (7, 0), "7.5 or higher"), ("12.8", (7, 0), "7.5 or higher"), ("12.6", (10, 0), "5.0 to 9.x")],
    )
    def test_a_gpu_without_kernels(self, machine, tmp_path, built, capability, expected):
        write_driver(tmp_path, Card("GPU-1", "NVIDIA GeForce", capability))
        write_pytorch(tmp_path, cuda=built)
        problem = (
            f"NVIDIA GeForce has compute capability {capability[0]}.{capability[1]}, and PyTorch 2.13.0, built for "
            f"CUDA {built}, needs {expected}: `make pipeline ENGINE=torch` installs the build for this machine, if "
            "there is one"
        )

        assert machine() == ["numba", "cpu", f"no CUDA: {problem}", []]
        assert machine("cuda") == f"device is cuda, but {problem}. Use --device cpu, or --device auto."

    def test_only_the_gpus_that_can_compute_are_taken(self, machine, tmp_path, pytorch):
        broken, old = Card("unknown", state=15), Card("GPU-2", "Tesla V100", (7, 0))
        prohibited, exclusive = Card("GPU-3", mode=PROHIBITED), Card("GPU-4", mode=EXCLUSIVE_PROCESS)
        write_driver(tmp_path, broken, old, prohibited, exclusive)

        assert machine()[3] == ["GPU-4"]
        assert "is cuda:0, but GPU 0: the NVIDIA driver does not answer (nvmlDeviceGetHand" in machine("cuda:0")
        assert "is cuda:1, but Tesla V100 has compute capability 7.0, and" in machine("cuda:1")
        assert "is cuda:2, but NVIDIA H100: its compute mode is Prohibited; `sudo nvidia-smi -i 2 -c" in machine(
            "cuda:2"
        )
        assert machine("cuda:3")[3] == ["GPU-4"]


class TestSeveralGPUs:
    @pytest.fixture(autouse=True)
    def two(self, tmp_path, pytorch):
        write_driver(tmp_path, *CARDS[:2])

    @pytest.mark.parametrize(
        "hidden", ["", "-1", " ", "none", "-1,0", "NoDevFiles", "0x0", "\u00b2", "2", "0,0", "GPU-"]
    )
    def test_hidden(self, machine, monkeypatch, hidden):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        problem = f"CUDA_VISIBLE_DEVICES hides every GPU: it is {hidden!r}; expected numbers out of 0, 1, or UUIDs"

        assert machine() == ["numba", "cpu", f"no CUDA: {problem}", []]
        assert machine("cuda") == f"device is cuda, but {problem}. Use --device cpu, or --device auto."

    @pytest.mark.parametrize(
        ("visible", "cards"),
        [
            ("0", [0]),
            (" 1", [1]),
            ("1,0", [1, 0]),
            ("0,-1,1", [0]),
            ("0,7,1", [0]),
            ("GPU-1132", [1]),
            (f"{CARDS[1].uuid},GPU-00", [1, 0]),
        ],
    )
    def test_chosen(self, machine, monkeypatch, visible, cards):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        uuids = [CARDS[card].uuid for card in cards]

        assert machine()[3] == uuids
        assert [machine(f"cuda:{number}")[3] for number in range(len(uuids))] == [[uuid] for uuid in uuids]
        assert "CUDA sees cuda:0 (NVIDIA H100)" in machine(f"cuda:{len(uuids)}")

    def test_a_part_of_a_gpu(self, machine, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-8932f937/1/2")

        assert machine()[3] == ["MIG-GPU-8932f937/1/2"]

    def test_one_is_named_by_its_number(self, machine):
        assert machine("cuda:1")[1:] == [
            "cuda",
            "it was asked for; torch rather than triton: " + devices.NO_TRITON,
            [CARDS[1].uuid],
        ]

    def test_a_number_beyond_the_last(self, machine):
        assert machine("cuda:9", "torch") == (
            "device is cuda:9, but CUDA sees cuda:0 (NVIDIA H100), cuda:1 (NVIDIA H100) alone. "
            "Use --device cpu, or --device auto."
        )


class TestTriton:
    """What the triton engine needs: made up here, since it may be missing on this machine."""

    @pytest.fixture(autouse=True)
    def complete(self, tmp_path, machine, pytorch, monkeypatch):
        """Complete the machine: libraries, a compiler, and headers of Python."""
        write_driver(tmp_path, CARDS[0])
        write_library(tmp_path, "triton")
        write_program(tmp_path / "bin", "gcc")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.delenv("CC", raising=False)
        if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
            pytest.skip("no headers of Python")

    def test_auto(self, machine):
        assert machine() == ["triton", "cuda", "PyTorch and a GPU are there", [CARDS[0].uuid]]
        assert machine("cuda") == ["triton", "cuda", "it was asked for", [CARDS[0].uuid]]
        assert machine("cpu")[0] == "numba"

    @pytest.mark.parametrize("program", ["gcc", "clang"])
    def test_a_compiler_on_the_path(self, machine, tmp_path, program):
        (tmp_path / "bin/gcc").rename(tmp_path / "bin" / program)

        assert machine()[0] == "triton"

    def test_a_compiler_in_cc(self, machine, tmp_path, monkeypatch):
        (tmp_path / "bin/gcc").rename(tmp_path / "bin/cc")
        assert machine()[:2] == ["torch", "cuda"]

        monkeypatch.setenv("CC", "cc")
        assert machine()[0] == "triton"

    @pytest.mark.parametrize(
        ("remove", "problem"),
        [
            (
                "triton/__init__.py",
                "Triton is not installed; PyTorch's build for CUDA, of `make pipeline ENGINE=torch`,",
            ),
            ("bin/gcc", "there is no C compiler: install gcc or clang, or name another in CC"),
        ],
    )
    def test_a_part_is_missing(self, machine, tmp_path, remove, problem):
        (tmp_path / remove).unlink()
        if remove.startswith("triton"):
            (tmp_path / "triton").rmdir()

        engine, device, reason, _ = machine()
        assert [engine, device] == ["torch", "cuda"]
        assert reason.startswith(f"PyTorch and a GPU are there; torch rather than triton: {problem}")
        assert machine("cuda", "triton").startswith(f"engine is triton, but {problem}")

    @pytest.mark.parametrize(("version", "engine"), [("3.4.0", "torch"), ("3.5.0", "triton"), ("3.10.1", "triton")])
    def test_a_version_of_triton(self, machine, tmp_path, version, engine):
        """Triton 3.4, of PyTorch 2.8, cannot compile the kernels."""
        with (tmp_path / "triton/__init__.py").open("a") as file:
            file.write(f"__version__ = {version!r}\n")

        chosen, _, reason, _ = machine()
        assert chosen == engine
        problem = "; torch rather than triton: Triton 3.4.0 is older than 3.5: `make pipeline ENGINE=torch` installs"
        assert (problem in reason) == (engine == "torch")

    def test_cc_names_no_program(self, machine, monkeypatch):
        monkeypatch.setenv("CC", "icc")

        assert machine("cuda", "triton").startswith("engine is triton, but CC is 'icc', which is no program. Or take")

    def test_no_headers(self, tmp_path):
        """Python looks for its headers below the folder of its environment."""
        code = "import sys; sys.base_prefix = sys.prefix = '/nowhere'; from pipeline.engines import triton_needs; "
        code += "print(triton_needs.problem())"

        assert run(code, os.environ, alone=True).startswith("there is no /nowhere/")

    def test_the_cpu_is_refused(self, machine, tmp_path):
        (tmp_path / "triton/__init__.py").unlink()
        (tmp_path / "triton").rmdir()

        assert machine("cpu", "triton") == (
            "device is cpu, but the triton engine has kernels for CUDA only. Use --engine numba, or --device cuda."
        )

    def test_without_cuda(self, machine, tmp_path):
        write_driver(tmp_path)

        assert machine()[:2] == ["numba", "cpu"]
        assert machine(engine="triton") == (
            "engine is triton, which needs CUDA, but the NVIDIA driver finds no GPU. Use --engine auto."
        )

    def test_what_compare_uses(self, tmp_path):
        """It takes every installed engine with each device that it can use; Theano may be there or not."""
        code = "import json; from pipeline.engines import devices; "
        code += "print(json.dumps([pair for pair in devices.usable() if pair[0] != 'theano']))"
        for library in ("numba", "llvmlite"):
            write_library(tmp_path, library)

        on_cpu, on_cuda = [["numba", "cpu"], ["torch", "cpu"]], [["torch", "cuda"], ["triton", "cuda"]]
        assert json.loads(run(code, os.environ, alone=True)) == on_cpu + on_cuda
        write_driver(tmp_path, CARDS[0], cuda=12080)
        assert json.loads(run(code, os.environ, alone=True)) == on_cpu


def run(code, environment, *arguments, alone=False):
    command = [sys.executable, *(["-S"] if alone else []), "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
