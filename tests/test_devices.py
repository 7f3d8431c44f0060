from __future__ import annotations

import ctypes.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.engines import devices
from pipeline.engines.devices import Choice
from pipeline.engines.engine import load_engine
from pipeline.errors import DeviceError, SettingError
from tests.available import require

ROOT = Path(__file__).parents[1]

CHOOSE = """
import dataclasses, json, sys
from pipeline.engines import devices
from pipeline.errors import DeviceError

try:
    print(json.dumps(dataclasses.astuple(devices.choose(*sys.argv[1:]))))
except DeviceError as error:
    print(json.dumps(str(error)))
"""

DRIVER = """
int nvmlInit_v2(void) { return %(init)d; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = %(count)d; return %(status)d; }
int nvmlShutdown(void) { return 0; }
"""


class TestSettings:
    @pytest.mark.parametrize(
        ("requested", "message"),
        [
            ("cdua", r"^device is 'cdua'; expected auto, cpu or cuda\. Did you mean 'cuda'\?$"),
            ("gpu", r"^device is 'gpu'; expected auto, cpu or cuda\."),
            ("", r"^device is ''; expected auto, cpu or cuda\.$"),
            ("CPU", r"^device is 'CPU'; expected auto, cpu or cuda\."),
        ],
    )
    @pytest.mark.parametrize("engine", ["auto", "torch"])
    def test_refuses_an_unknown_device(self, engine, requested, message):
        with pytest.raises(SettingError, match=message):
            devices.choose(engine, requested)

    @pytest.mark.parametrize("device", devices.DEVICES)
    def test_refuses_an_unknown_engine(self, device):
        with pytest.raises(SettingError, match=r"^engine is 'troch'; expected auto, .*torch.* Did you mean 'torch'\?$"):
            devices.choose("troch", device)

    @pytest.mark.parametrize("engine", devices.ENGINES)
    def test_every_engine_has_the_cpu(self, engine):
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

    @pytest.mark.parametrize("engine", devices.ENGINES)
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


class TestOtherMachines:
    """Processes that find other libraries than this one; `devices` looks only at which are installed."""

    @pytest.fixture
    def machine(self, tmp_path, monkeypatch):
        """Return a function that chooses in a process without this environment's libraries."""
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return lambda device="auto", engine="auto": json.loads(run(CHOOSE, os.environ, engine, device, alone=True))

    @pytest.fixture
    def pytorch(self, tmp_path):
        install(tmp_path, "2.13.0+cu130")

    @pytest.fixture
    def driver(self, tmp_path, monkeypatch):
        """Return a function that builds a driver's management library with given answers."""
        compiler = shutil.which("cc") or pytest.skip("no C compiler")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

        def build(init=0, status=0, count=1):
            source = tmp_path / "driver.c"
            source.write_text(DRIVER % {"init": init, "status": status, "count": count})
            subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "libnvidia-ml.so.1", source], check=True)

        return build

    def test_no_pytorch(self, machine, driver):
        driver()

        assert machine() == [
            "numba",
            "cpu",
            "no CUDA: PyTorch is not installed; `make pipeline ENGINE=torch` installs it",
        ]
        assert machine("cuda").startswith(
            "device is cuda, but PyTorch is not installed; `make pipeline ENGINE=torch` installs it. Use --"
        )

    def test_pytorch_without_cuda(self, machine, tmp_path, driver):
        driver()
        install(tmp_path, "2.13.0+cpu")

        assert machine() == ["numba", "cpu", "no CUDA: PyTorch 2.13.0+cpu was built without CUDA"]

    @pytest.mark.skipif(
        ctypes.util.find_library("nvidia-ml") is not None, reason="there is an NVIDIA driver on this machine"
    )
    def test_no_driver(self, machine, pytorch):
        reason = machine()[-1]

        assert reason == "no CUDA: there is no NVIDIA driver (no libnvidia-ml.so.1)"

    @pytest.mark.parametrize("version", ["2.13.0", "2.13.0+cu130"])
    def test_a_gpu(self, machine, tmp_path, driver, version):
        install(tmp_path, version)
        driver()

        assert machine() == ["torch", "cuda", "PyTorch and a GPU are there"]
        assert machine("cuda") == ["torch", "cuda", "it was asked for"]
        assert machine("auto", "numba")[:2] == ["numba", "cpu"]
        assert machine("cpu", "torch") == ["torch", "cpu", "it was asked for"]
        assert machine("cpu") == ["numba", "cpu", "it was asked for"]

    def test_a_driver_that_does_not_answer(self, machine, pytorch, driver):
        driver(init=9)

        assert machine() == ["numba", "cpu", "no CUDA: the NVIDIA driver does not answer (NVML error 9)"]

    @pytest.mark.parametrize("answer", [{"count": 0}, {"status": 3}])
    def test_a_driver_without_a_gpu(self, machine, pytorch, driver, answer):
        driver(**answer)

        assert machine() == ["numba", "cpu", "no CUDA: the NVIDIA driver finds no GPU"]

    @pytest.mark.parametrize("hidden", ["", "-1", " ", "none", "-1,0", "NoDevFiles", "0x0", "\u00b2"])
    def test_a_hidden_gpu(self, machine, pytorch, driver, monkeypatch, hidden):
        driver()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)

        assert machine() == ["numba", "cpu", "no CUDA: CUDA_VISIBLE_DEVICES hides every GPU"]
        assert "CUDA_VISIBLE_DEVICES hides every GPU" in machine("cuda")

    @pytest.mark.parametrize("beyond", ["1", "99", "1,0"])
    def test_a_gpu_beyond_the_last(self, machine, pytorch, driver, monkeypatch, beyond):
        driver()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", beyond)

        assert re.fullmatch(
            r"no CUDA: CUDA_VISIBLE_DEVICES hides every GPU: it begins with \d+, and there are 1, from 0", machine()[-1]
        )

    @pytest.mark.parametrize("visible", ["0", "0,1", " 0", "0,-1", "GPU-8932f937", "MIG-GPU-8932f937/1/2"])
    def test_a_chosen_gpu(self, machine, pytorch, driver, monkeypatch, visible):
        driver()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

        assert machine()[:2] == ["torch", "cuda"]


def run(code, environment, *arguments, alone=False):
    command = [sys.executable, *(["-S"] if alone else []), "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def install(folder, version):
    """Write the metadata of an installed version of PyTorch."""
    (folder / f"torch-{version}.dist-info").mkdir()
    (folder / f"torch-{version}.dist-info/METADATA").write_text(f"Name: torch\nVersion: {version}\n")


def _is_installed(distribution):
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
