"""Choose the build of PyTorch on machines that are made up, and install it with a real pip from a folder."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.engines.nvidia import Card, Driver
from pipeline.engines.pytorch import Build
from pipeline.engines.torch import builds, setup
from tests import made_up_machine
from tests.made_up_packages import wheel

ROOT = Path(__file__).parents[1]
H100, V100 = Card("GPU-1", "NVIDIA H100", (9, 0)), Card("GPU-2", "Tesla V100", (7, 0))
NO_DRIVER = "there is no NVIDIA driver (no libnvidia-ml.so.1)"

MACHINES = {
    "no driver": (NO_DRIVER, f"the CPU, because {NO_DRIVER}"),
    "a newer driver": (Driver((13, 2), (H100,)), "CUDA 13.0, which the driver (CUDA 13.2) and NVIDIA H100 can run"),
    "an older driver": (Driver((12, 4), (H100,)), "CUDA 12.9, which the driver (CUDA 12.4) and NVIDIA H100 can run"),
    "an older card": (Driver((13, 0), (V100,)), "CUDA 12.6, which the driver (CUDA 13.0) and Tesla V100 can run"),
    "both cards": (
        Driver((13, 0), (V100, H100)),
        "CUDA 12.6, which the driver (CUDA 13.0) and NVIDIA H100 and Tesla V100 can run",
    ),
    "a card of tomorrow beside an old one": (
        Driver((13, 0), (V100, Card("GPU-3", "NVIDIA B200", (10, 0)))),
        "CUDA 13.0, which the driver (CUDA 13.0) and NVIDIA B200 and Tesla V100 can run",
    ),
    "a driver for CUDA 11": (
        Driver((11, 4), (V100,)),
        "the CPU, because the driver (CUDA 11.4) and Tesla V100 can run none for CUDA",
    ),
}


class TestChoose:
    @pytest.mark.parametrize(("driver", "expected"), MACHINES.values(), ids=MACHINES)
    def test_on_linux(self, driver, expected):
        choice = builds.choose("Linux", driver)
        assert f"{choice}, {choice.reason}" == f"PyTorch 2.13.0 for {expected}"

    def test_on_macos(self):
        choice = builds.choose("Darwin", NO_DRIVER)
        assert (choice.label, choice.reason) == ("cpu", "because PyTorch has no other for macOS")

    def test_the_builds_that_there_are(self):
        torch = importlib.util.find_spec("torch")
        if torch is None or not metadata.version("torch").startswith(builds.VERSION):
            pytest.skip(f"PyTorch {builds.VERSION} is not installed")
        source = Path(torch.origin).with_name("cuda").joinpath("__init__.py").read_text()
        table = re.search(r"^PYTORCH_RELEASES_CODE_CC.*?^}", source, re.M | re.S)[0]
        there = {(int(major), int(minor)) for major, minor in re.findall(r'^    "(\d+)\.(\d)"', table, re.M)}
        assert {build.cuda for build in builds.FOR_CUDA} == there - {(13, 2)}


def test_builds_for_arm_have_no_kernels_for_older_gpus():
    build = Build("2.13.0", (13, 0), processor="aarch64")
    assert build.card_problem(H100) is None
    problem = build.card_problem(Card("GPU-4", "Tesla T4", (7, 5)))
    assert problem.startswith("Tesla T4 has compute capability 7.5, and PyTorch 2.13.0, built for CUDA 13.0, needs 8.0")


class TestSuits:
    @pytest.mark.parametrize(
        ("version", "cuda", "driver", "expected"),
        [
            ("2.13.0+cpu", None, NO_DRIVER, True),
            ("2.13.0", (13, 0), NO_DRIVER, True),
            ("2.12.0+cpu", None, NO_DRIVER, False),
            ("2.13.0+cpu", None, Driver((13, 0), (H100,)), False),
            ("2.13.0+cu126", (12, 6), Driver((13, 0), (H100,)), True),
            ("2.13.0+cu132", (13, 2), Driver((13, 0), (H100,)), True),
            ("2.13.0", (13, 0), Driver((12, 8), (H100,)), False),
            ("2.13.0", (13, 0), Driver((13, 0), (V100,)), False),
            ("2.13.0+cpu", None, Driver((11, 4), (V100,)), True),
        ],
    )
    def test_what_is_installed(self, version, cuda, driver, expected):
        assert builds.suits(Build(version, cuda), builds.choose("Linux", driver), driver) is expected

    def test_nothing(self):
        assert not builds.suits(None, builds.choose("Darwin", NO_DRIVER), NO_DRIVER)


def pins(name):
    """Return each version that a file of requirements names, and check that all have hashes."""
    text = (ROOT / f"requirements/{name}.txt").read_text()
    entries = [line for line in text.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    assert all("--hash=sha256:" in entry for entry in entries)
    return [entry.split(" ")[0] for entry in entries]


class TestWhatPipGets:
    """One command of pip after the other, as a person would type it in the checkout."""

    @pytest.mark.parametrize(
        ("driver", "expected"),
        [
            (
                NO_DRIVER,
                [
                    "--require-hashes --requirement requirements/torch-needs.txt",
                    "--no-deps --extra-index-url https://download.pytorch.org/whl/cpu "
                    "--require-hashes --requirement requirements/torch-cpu.txt",
                ],
            ),
            (Driver((13, 0), (H100,)), ["--require-hashes --requirement requirements/torch-cuda.txt"]),
            (
                Driver((12, 8), (H100,)),
                [
                    "--require-hashes --requirement requirements/torch-needs.txt",
                    "--extra-index-url https://download.pytorch.org/whl/cu129 torch==2.13.0+cu129",
                ],
            ),
        ],
    )
    def test_arguments(self, driver, expected):
        commands = setup.pip_arguments(builds.choose("Linux", driver))
        assert [" ".join(command).replace(f"{ROOT}/", "") for command in commands] == expected

    def test_every_pin_has_hashes_and_is_of_one_version(self):
        assert pins("torch-cpu") == ["torch==2.13.0+cpu", "torch==2.13.0"]
        on_linux, on_macos = (ROOT / "requirements/torch-cpu.txt").read_text().split("torch==2.13.0 ;")
        versions, processors = ["3.11", "3.12", "3.13"], ["x86_64", "aarch64"]
        assert (on_linux.count("--hash"), on_macos.count("--hash")) == (len(versions) * len(processors), len(versions))
        assert "torch===2.13.0" in pins("torch-cuda")
        assert builds.VERSION == "2.13.0"
        assert pins("triton") == [pin for pin in pins("torch-cuda") if pin.startswith("triton==")]
        assert set(pins("torch-needs")) <= set(pins("torch-cuda"))

    def test_nothing_for_the_cpu_is_of_cuda(self):
        files = re.findall(r"requirements/([\w-]+)\.txt", str(setup.pip_arguments(builds.choose("Linux", NO_DRIVER))))
        assert files == ["torch-needs", "torch-cpu"]
        names = [pin.split("=")[0] for name in (*files, "triton", "dev", "base") for pin in pins(name)]
        assert not [name for name in names if name.startswith(("nvidia", "cuda"))]


def pytorch(folder, version, cuda):
    built_for = f"__version__ = {version!r}\ncuda = {cuda!r}\n"
    return wheel(folder, "torch", version, {"torch/__init__.py": "", "torch/version.py": built_for})


@pytest.fixture(scope="module")
def virtual_environment(tmp_path_factory):
    """An environment with this one's pip, since to install pip takes most of the time of making one."""
    folder = tmp_path_factory.mktemp("virtual")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    shutil.copytree(Path(importlib.util.find_spec("pip").origin).parent, packages / "pip")
    return folder / "bin" / "python"


@pytest.fixture
def checkout(tmp_path, virtual_environment):
    """The code beside requirements of small packages, which lie in a folder of their own."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements", "packages", "driver"):
        (tmp_path / name).mkdir()
    packages = tmp_path / "packages"
    needs, triton = wheel(packages, "filelock", "1.0"), wheel(packages, "triton", "3.7.1")
    pypi = pytorch(packages, "2.13.0", "13.0").replace("==", "===", 1)
    texts = {"torch-needs": needs, "triton": triton, "torch-cuda": pypi + needs + triton}
    texts["torch-cpu"] = pytorch(packages, "2.13.0+cpu", None)
    pytorch(packages, "2.13.0+cu129", "12.9")
    for name, text in texts.items():
        (tmp_path / f"requirements/{name}.txt").write_text(text)
    yield tmp_path
    remove = [virtual_environment, "-m", "pip", "uninstall", "--quiet", "--yes", "torch", "triton", "filelock"]
    subprocess.run(remove, capture_output=True, check=True)


@pytest.fixture
def set_up(checkout, virtual_environment):
    """Return a function that runs the set-up in the virtual environment, and returns what it prints."""

    def run(*flags, status=0, **variables):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(checkout),
            "LD_LIBRARY_PATH": str(checkout / "driver"),
            "PIP_FIND_LINKS": str(checkout / "packages"),
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }
        command = [virtual_environment, "-m", "pipeline.engines.torch.setup", *flags]
        done = subprocess.run(
            command, env=environment | variables, cwd=checkout, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def installed(python):
    code = (
        "import torch.version as v, importlib.metadata as m; print(v.__version__, [d.name for d in m.distributions()])"
    )
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout


FOR_CPU = f"Installing PyTorch 2.13.0 for the CPU, because {NO_DRIVER}; 0.2 GB ...\n"
NOT_TO_BE_HAD = (
    "PyTorch 2.13.0 for the CPU cannot be installed: No matching distribution found for torch==2.13.0+cpu (pip). "
    "Check the network and pip's index, and try again."
)


@pytest.mark.skipif(ctypes.util.find_library("nvidia-ml") is not None, reason="this machine has an NVIDIA driver")
@pytest.mark.xdist_group("torch_setup")
class TestInstall:
    def test_once_and_again_when_a_driver_appears(self, set_up, checkout, virtual_environment):
        assert set_up("--for-gpu") == ""
        assert set_up() == FOR_CPU
        assert installed(virtual_environment).startswith("2.13.0+cpu ")
        assert set_up() == ""

        made_up_machine.write_driver(checkout / "driver", made_up_machine.CARDS[0], cuda=12080)
        name = made_up_machine.CARDS[0].name
        assert set_up("--for-gpu") == (
            "Installing PyTorch 2.13.0 for CUDA 12.9 instead of 2.13.0+cpu, "
            f"which the driver (CUDA 12.8) and {name} can run; about 3 GB ...\n"
        )
        assert installed(virtual_environment).startswith("2.13.0+cu129 ")

        made_up_machine.write_driver(checkout / "driver", made_up_machine.CARDS[0], cuda=13000)
        assert set_up() == ""

    def test_pypi_s_build_beside_one_for_the_cpu(self, set_up, checkout, virtual_environment):
        """To pip, 2.13.0+cpu fulfils torch==2.13.0: where it is installed, and before PyPI's where it lies on disk."""
        set_up()
        made_up_machine.write_driver(checkout / "driver", made_up_machine.CARDS[0], cuda=13000)
        assert "for CUDA 13.0 instead of 2.13.0+cpu, which the driver (CUDA 13.0)" in set_up()
        assert installed(virtual_environment).startswith("2.13.0 ")

    @pytest.mark.parametrize("removed", ["torch/version.py", "torch-2.13.0+cpu.dist-info"])
    def test_one_that_is_not_whole(self, set_up, virtual_environment, removed):
        """As pip leaves it if it is killed, or a full disk."""
        set_up()
        [path] = virtual_environment.parents[1].glob(f"lib/python*/site-packages/{removed}")
        shutil.rmtree(path) if path.is_dir() else path.unlink()

        assert "Installing PyTorch 2.13.0 for the CPU" in set_up()
        assert installed(virtual_environment).startswith("2.13.0+cpu ")
        assert set_up() == ""

    def test_without_an_index_that_has_it(self, set_up, checkout):
        for path in (checkout / "packages").glob("torch-*"):
            path.unlink()
        assert set_up(status=1) == f"{FOR_CPU}{NOT_TO_BE_HAD}\n"
        assert set_up("--for-tests") == f"{FOR_CPU}{NOT_TO_BE_HAD} The tests that need it are skipped.\n"
        assert set_up("--for-tests", status=1, CI="true") == f"{FOR_CPU}{NOT_TO_BE_HAD}\n"

    def test_where_a_gpu_is_there_but_no_index_the_cpu_is_the_way_out(self, set_up, checkout):
        made_up_machine.write_driver(checkout / "driver", made_up_machine.CARDS[0], cuda=13000)
        for path in (checkout / "packages").glob("torch-*"):
            path.unlink()
        assert set_up("--for-gpu", status=1).endswith(", or compute on the CPU: ENGINE=numba DEVICE=cpu.\n")

    def test_for_tests_with_triton(self, set_up, virtual_environment):
        triton = "Installing Triton 3.7.1, to test its kernels without a GPU; 0.2 GB ...\n"
        assert set_up("--for-tests", CI="true") == FOR_CPU + triton
        assert set_up("--for-tests") == ""
        assert "triton" in installed(virtual_environment)

    def test_another_file_than_the_pinned_one(self, set_up, checkout):
        pytorch(checkout / "packages", "2.13.0+cpu", "9.9")
        assert "PyTorch 2.13.0 for the CPU cannot be installed: " in set_up(status=1)
