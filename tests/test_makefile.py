"""What a person types, typed in a fresh clone that sets up an environment of its own."""

from __future__ import annotations

import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.configuration import make_variables
from tests.checkout import ROOT, STAGES

README = (ROOT / "README.md").read_text()
QUICK = "--TrainMLP-epochs 1 --TrainCNN-epochs 1"

pytestmark = pytest.mark.xdist_group("makefile")  # they share what one fixture sets up


def test_plain_make_prints_the_help(clone):
    printed = clone.shell("make")
    assert "Usage: make TARGET" in printed
    assert printed == clone.shell("make help")
    for target in re.findall(r"^make ([a-z-]+)$", README, re.M):
        assert f"  {target} " in printed


MISSPELT = {"pipeline ARCHVE=mine.tar.gz": "ARCHIVE", "test SEDE=7": "SEED", "seed=7": "SEED", "help EPOCH=1": "EPOCHS"}


@pytest.mark.parametrize("typed", MISSPELT)
def test_a_misspelt_variable_is_an_error_before_anything_runs(clone, typed):
    printed = clone.shell(f"make {typed}", status=2)
    assert f"{typed.split()[-1]} is no setting. Did you mean {MISSPELT[typed]}? `make help` lists all." in printed
    assert printed.count("\n") == 1


def test_variables_that_a_target_has_no_use_for_and_those_of_the_environment(clone):
    known = "SEED=7 KEEP=1 YES=1 PYTHON=python3 THEANO_PYTHON=python3 VENV=.venv SHELL=/bin/sh MAKEFLAGS="
    assert clone.shell(f"SEDE=7 make help {known}") == clone.shell("make help")


def test_the_help_and_the_readme_have_every_variable(clone):
    printed = clone.shell("make help")
    rows = {line.split("=")[0]: line for line in README.splitlines() if line.startswith("| `")}
    for name, flags in make_variables.flags_of_variables().items():
        assert f"\n  {name}=" in printed
        assert all(f"`{flag} " in rows[f"| `{name}"] for flag in flags)


def test_no_shell_and_no_make_reads_a_value(clone):
    """What make would have a shell run has none of the values in it."""
    values = [f"{name}='x; touch pwned'" for name in ("COUNT", "KILLS", "SEEDS", "KEEP", "EVERY", "FORCE")]
    targets = "fuzz faults compare gc schedule pipeline demo status"
    assert "pwned" not in clone.shell(f"make -n {targets} {' '.join(values)} ARCHIVE='$(shell touch pwned)'")
    assert not (clone.folder / "pwned").exists()


ODD_VALUES = [
    "a$b",
    "a$$b",
    "$(touch pwned)",
    "$(shell touch pwned)",
    "x'; touch pwned; '",
    '"; touch pwned; "',
    "-x",
    "a\nb",
]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_a_value_arrives_as_it_was_typed(clone, value):
    printed = clone.shell(f"make status ARCHIVE={shlex.quote(value)}", status=2)
    assert f"there is no archive at {value}; expected" in printed
    assert not (clone.folder / "pwned").exists()


def test_an_archive_with_an_odd_name(clone):
    for name in ("it's mine $x.tar.gz", 'a "b" $$(c).tar.gz', "-n.tar.gz"):
        (clone.folder / name).write_bytes((clone.folder / "mine.tar.gz").read_bytes())
        clone.shell(f"make status ARCHIVE={shlex.quote(name)}")


@pytest.mark.parametrize("typed", ["YES=no", "DRY=0", "DEMO=yes"])
def test_a_yes_that_is_none_is_refused(clone, typed):
    name = typed.partition("=")[0]
    assert f"{typed} makes no sense; expected {name}=1, or nothing" in clone.shell(f"make gc {typed}", status=2)


def test_a_setting_of_a_sweep_is_refused_elsewhere(clone):
    told = "LEARNING_RATE=0.02 is a setting of `make sweep` alone"
    assert told in clone.shell("make pipeline LEARNING_RATE=0.02", status=2)


def test_what_cannot_be_kept_is_refused(clone):
    assert "SEEDS=1,2 is no setting that can be kept" in clone.shell("make configure SEEDS=1,2", status=2)


def test_options_of_a_target_arrive_as_they_were_typed(clone):
    assert "argument --keep-days: '1; touch pwned'" in clone.shell("make gc KEEP='1; touch pwned'", status=2)
    assert "settings.seed is '7 --x'" in clone.shell("make status SEED='7 --x'", status=2)
    assert "force names '$x'" in clone.shell("make status FORCE='$x' ARCHIVE=mine.tar.gz", status=2)
    assert not (clone.folder / "pwned").exists()


def test_clean_has_nothing_to_do_in_a_fresh_clone(clone):
    clone.shell("make clean")


ONE_PIP_AT_A_TIME = """#!/bin/sh
case "$*" in
"-c "*) ;;
"-m venv "*) mkdir -p "$3/bin" && ln -s "$0" "$3/bin/python" ;;
"-m pip "* | "-m pipeline.engines."*) mkdir installing && sleep 0.2 && rmdir installing ;;
*) echo "$@" ;;
esac
"""
"""A Python whose pip fails where another one installs at the same time."""


def test_several_jobs_install_one_after_the_other(tmp_path):
    folder = tmp_path / "a folder"
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for name in ("Makefile", "pyproject.toml", "tasks/configuration/make_variables.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "python").write_text(ONE_PIP_AT_A_TIME)
    (folder / "python").chmod(0o755)
    command = ["make", "--no-print-directory", "-j4", "test", f"PYTHON={folder}/python"]

    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("-m pytest ")


def test_demo_runs_on_digits_and_says_so(clone):
    printed = clone.shell("make demo")
    for network in ("MLP", "CNN"):
        metrics = json.loads((clone.folder / f"outputs/demo/latest/Evaluate{network}/metrics.json").read_text())
        assert metrics["accuracy"] > 0.8
        assert metrics["data"]["title"] == "scikit-learn's digits"
        assert f"{metrics['accuracy']:.2f} (on scikit-learn's digits, not CIFAR-10)" in printed
    assert (
        "<h1>scikit-learn&#x27;s digits, in grayscale</h1>" in (clone.folder / "outputs/demo/report.html").read_text()
    )
    assert not (clone.folder / "outputs/latest").exists()


def test_the_demo_s_results_by_its_name(clone):
    clone.shell("make demo")
    assert " to run " not in clone.shell("make status DEMO=1")
    assert "11 reused" in clone.shell("make pipeline DEMO=1")
    assert "Pipeline" in clone.shell("make history DEMO=1")
    assert "The last run had DEMO=1;" in clone.shell("make status DATA=demo ARCHIVE=mine.tar.gz")
    python = ". .venv/bin/activate && python"
    for flags in ("--demo", "--data demo", "--outputs-dir outputs/demo"):
        exported = clone.shell(f"{python} -m pipeline export --format safetensors {flags}")
        assert exported.startswith("outputs/demo/cnn.safetensors: ")
    written = "from PIL import Image; Image.new('L', (32, 32)).save('black.png')"
    for flags in ("--demo black.png", "--data demo black.png", "black.png --demo"):
        assert "black.png" in clone.shell(f'{python} -c "{written}" && python -m pipeline predict {flags}')
    assert "--DownloadCIFAR-archive and --demo came together" in clone.shell("make demo ARCHIVE=mine.tar.gz", status=2)


def test_other_data_in_folders_of_its_own(clone):
    clone.shell(f"make pipeline DATA=flowers ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    assert (clone.folder / "outputs/flowers/report.html").exists()
    assert {path.name for path in (clone.folder / "data/flowers").iterdir()} >= {"DownloadCIFAR", "Grayscale2D"}
    assert not (clone.folder / "outputs/latest").exists()
    assert "Pipeline" in clone.shell("make history DATA=flowers")


def test_a_learning_rate_and_epochs_for_both_networks(clone):
    clone.shell("make pipeline DATA=rates ARCHIVE=mine.tar.gz LR=0.02 EPOCHS=1")
    for network in ("MLP", "CNN"):
        record = json.loads((clone.folder / f"outputs/rates/latest/Train{network}/stage.json").read_text())
        assert (record["parameters"]["learning_rate"], record["parameters"]["epochs"]) == (0.02, 1)


def test_lists_for_a_sweep(clone):
    lists = "NETWORK=mlp LEARNING_RATE=0.01,0.02 MOMENTUM=0.8 BATCH_SIZE=64,128 EPOCHS=1,2 SEEDS=1,2 ENGINES=numba"
    printed = clone.shell(f"make sweep {lists} DRY=1 ARCHIVE=mine.tar.gz")
    assert "MLP, learning rate 0.02, momentum 0.8, batch size 64, epochs 2, seed 1, engine numba" in printed
    assert "16 trials: " in printed
    assert "Sweep.learning_rate has 'x'" in clone.shell("make sweep LR=x ARCHIVE=mine.tar.gz", status=2)


def test_settings_that_are_kept(clone):
    assert "mine.tar.gz  local.cfg" in clone.shell("make configure ARCHIVE=mine.tar.gz LR=0.02 DATA=kept")
    clone.shell(". .venv/bin/activate && luigi --module tasks GrayscaleFlat && make status")
    assert (clone.folder / "data/kept/GrayscaleFlat").exists()
    assert re.search(r"^Train.learning_rate +0.02 +local.cfg$", clone.shell("make configure"), re.M)
    assert "seed is -1" in clone.shell("make configure SEED=-1", status=2)
    assert clone.shell("make configure ARCHIVE= LR= DATA=") == "Every setting has its default.\n"
    (clone.folder / "local.cfg").unlink()


def test_pipeline_takes_an_archive_from_disk(clone):
    printed = clone.shell(f"make pipeline ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    assert "The accuracy of this network is: " in printed
    assert f"{len(STAGES)} computed" in printed
    metrics = json.loads((clone.folder / "outputs/latest/EvaluateCNN/metrics.json").read_text())
    assert metrics["images"] == 40


def test_pipeline_uses_what_is_there_with_two_workers_too(clone):
    clone.shell(f"make pipeline ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    assert f"{len(STAGES)} reused" in clone.shell(f"make pipeline ARCHIVE=mine.tar.gz WORKERS=2 ARGS='{QUICK}'")


def test_results_in_a_remote(clone):
    remote = f"REMOTE=file://{clone.folder}/remote"
    shared = f"{remote} DATA=shared ARCHIVE=mine.tar.gz"
    made = "luigi --module tasks GrayscaleFlat --data shared --DownloadCIFAR-archive mine.tar.gz"
    clone.shell(f"make .venv/base && . .venv/bin/activate && {made}")
    assert "3 results written" in clone.shell(f"make push {shared}")
    shutil.rmtree(clone.folder / "data/shared")
    assert "3 results fetched; 3 of 11 are here now" in clone.shell(f"make pull {shared}")
    assert "is as it was made" in clone.shell(f"make verify {remote}")
    assert "3 results, would be removed" in clone.shell(f"make gc {remote} KEEP=0 DRY=1")
    assert "3 results removed" in clone.shell(f"make gc {remote} KEEP=0 YES=1")


def test_luigi_as_the_readme_types_it(clone):
    config = (clone.folder / "luigi.cfg").read_text()
    changed = config.replace("\narchive =\n", "\narchive = mine.tar.gz\n").replace("\nepochs =\n", "\nepochs = 1\n")
    (clone.folder / "luigi.cfg").write_text(changed)
    clone.shell(". .venv/bin/activate && luigi --module tasks EvaluateCNN")
    for network in ("mlp2", "mlp_fitted", "cnn_printed"):
        clone.shell(f". .venv/bin/activate && luigi --module tasks Evaluate --network {network}")
        assert (clone.folder / f"outputs/latest/Evaluate{network.upper()}/metrics.json").exists()
    (clone.folder / "luigi.cfg").write_text(config)


def test_a_failure_has_a_message_and_an_exit_status(clone):
    assert "there is no archive at nowhere.tar.gz" in clone.shell("make pipeline ARCHIVE=nowhere.tar.gz", status=2)
    (clone.folder / "broken.tar.gz").write_bytes(b"<html>503</html>")
    printed = clone.shell("make pipeline ARCHIVE=broken.tar.gz", status=2)
    assert "a web page" in printed
    assert "Traceback" not in printed


def test_schedule_hands_its_calendar_to_no_shell(clone):
    printed = clone.shell("""make schedule EVERY="daily'; touch pwned #" DRY=1 ARCHIVE=mine.tar.gz""", status=2)
    assert """EVERY is "daily'; touch pwned #"; expected daily""" in printed
    assert not (clone.folder / "pwned").exists()
    printed = clone.shell("make schedule DRY=1 ARCHIVE=mine.tar.gz", status=2)
    assert "EVERY is empty; expected daily" in printed
    assert "Type `make schedule EVERY=daily`." in printed
    assert "Nothing is scheduled" in clone.shell("make unschedule DRY=1")


def test_check_device_tells_where_exp_is_computed(clone):
    assert "Used the cpu" in clone.shell("make check-device DEVICE=cpu")
    assert "device is cuda, but" in clone.shell(
        ". .venv/bin/activate && CUDA_VISIBLE_DEVICES= luigi --module tasks CheckDevice --device cuda", status=40
    )


def test_status_verify_gc_and_history(clone):
    clone.shell(f"make pipeline ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    assert "TrainCNN" in clone.shell("make status ARCHIVE=mine.tar.gz")
    assert "as it was made" in clone.shell("make verify")
    assert "would be removed" in clone.shell("make gc DRY=1 KEEP=0")
    assert "EvaluateCNN" in clone.shell("make history")


def test_clean_keeps_the_archive(clone):
    clone.shell(f"make pipeline ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    clone.shell("make clean")
    assert list(clone.folder.glob("data/DownloadCIFAR/*/cifar-10-python.tar.gz"))
    assert not (clone.folder / "outputs/latest").exists()


UV = """
echo "uv $*" >> uv.log
case "$*" in
    "python install"*) ln -s ../stand-ins/python3.13 elsewhere/python3.13 ;;
    "python find"*) ls "$PWD/elsewhere/python3.13" 2>/dev/null ;;
esac
"""
"""A uv without network: a Python that serves lies elsewhere after it is installed."""

OLD = 'case "$*" in "-c "*) exit 1 ;; esac'
NEW = """
case "$*" in
    "-m venv "*) echo "$0 $*"; mkdir -p "$3/bin"; printf "" > "$3/bin/python"; chmod +x "$3/bin/python" ;;
esac
"""


class Machine:
    """A folder with the Makefile and what that reads, on a machine with a few programs on PATH."""

    def __init__(self, folder):
        self.folder = folder
        pip = [f"requirements/{name}.txt" for name in ("base", "dev", "fuzz")]
        npm = [f"requirements/javascript/{name}.json" for name in ("package", "package-lock")]
        for name in ("Makefile", "pyproject.toml", "tasks/configuration/make_variables.txt", *pip, *npm):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for name in ("bin", "elsewhere", "stand-ins"):
            (folder / name).mkdir()
        for name in ("chmod", "ln", "ls", "mkdir", "sed", "touch"):
            (folder / "bin" / name).symlink_to(shutil.which(name))
        self.put("stand-ins/python3.13", NEW)

    def put(self, path, text):
        (self.folder / path).write_text(f"#!/bin/sh\n{text}")
        (self.folder / path).chmod(0o755)

    def make(self, *typed, status=0, **environment):
        """Type make, for the environment where nothing else is named."""
        environment = {"PATH": str(self.folder / "bin"), "HOME": str(self.folder)} | environment
        command = [shutil.which("make"), *(typed or [".venv/base"])]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


class TestWhichPythonServes:
    @pytest.fixture
    def machine(self, tmp_path):
        """A machine whose only Python is one that Luigi does not admit."""
        made = Machine(tmp_path)
        made.put("bin/python3", OLD)
        return made

    def test_the_one_that_is_on_path(self, machine):
        machine.put("bin/python3.13", NEW)
        machine.put("bin/uv", "echo used > used")
        assert "Setting up .venv with python3.13 ..." in machine.make()
        assert not (machine.folder / "used").exists()

    def test_the_one_that_uv_has(self, machine):
        machine.put("bin/uv", UV)
        machine.put("elsewhere/python3.13", NEW)
        assert f"Setting up .venv with {machine.folder}/elsewhere/python3.13 ..." in machine.make()
        assert "install" not in (machine.folder / "uv.log").read_text()

    def test_the_one_that_uv_installs(self, machine):
        machine.put("bin/uv", UV)
        python = f"{machine.folder}/elsewhere/python3.13"
        assert f"Setting up .venv with {python} ...\n{python} -m venv .venv\n" in machine.make()

    def test_nothing_is_installed_before_it_is_needed(self, machine):
        machine.put("bin/uv", UV)
        machine.make("unknown", "SEDE=7", status=2)
        assert "install" not in (machine.folder / "uv.log").read_text()

    def test_a_failure_of_uv_ends_the_setup(self, machine):
        machine.put("bin/uv", "echo 'no network' >&2; exit 2")
        printed = machine.make(status=2)
        assert "no network" in printed
        assert "Setting up" not in printed

    def test_none_without_uv_and_the_message_names_ways_to_get_one(self, machine):
        printed = machine.make(status=2)
        assert "No Python 3.11 to 3.13 found. Get one, then type the same command again:\n" in printed
        for way in ("sudo apt install ", "sudo dnf install ", "brew install ", "install uv, ", "make PYTHON=/"):
            assert way in printed
        assert {"Debian", "Ubuntu", "Fedora", "Homebrew"} <= set(printed.split())

    def test_the_one_that_is_named(self, machine):
        assert "Setting up .venv with stand-ins/python3.13 ..." in machine.make(
            ".venv/base", "PYTHON=stand-ins/python3.13"
        )

    def test_the_one_that_the_real_uv_has(self, machine):
        if not (uv := shutil.which("uv")):
            pytest.skip("there is no uv here; `make requirements` installs it")
        (machine.folder / "bin" / "uv").symlink_to(uv)
        major, minor, patch = sys.version_info[:3]
        system = "macos-aarch64-none" if sys.platform == "darwin" else f"linux-{platform.machine()}-gnu"
        installed = machine.folder / "pythons" / f"cpython-{major}.{minor}.{patch}-{system}"
        installed.mkdir(parents=True)
        for path in Path(sys.base_prefix).iterdir():
            (installed / path.name).symlink_to(path)
        printed = machine.make("-n", ".venv/base", UV_PYTHON_INSTALL_DIR=str(installed.parent), UV_OFFLINE="1")
        assert f"python={installed}/bin/python{major}.{minor} &&" in printed


class TestWhichCommandsInstallPyTorch:
    @pytest.mark.parametrize(
        ("typed", "without_gpu", "with_gpu"),
        [
            ("pipeline", None, " --for-gpu"),
            ("pipeline ENGINE=auto DEVICE=auto", None, " --for-gpu"),
            ("pipeline DEVICE=cpu", None, None),
            ("pipeline ENGINE=numba", None, None),
            ("pipeline ENGINE=torch", "", ""),
            ("check-device ENGINE=torch DEVICE=cpu", "", ""),
            ("pipeline ENGINE=triton", " --for-gpu", " --for-gpu"),
            ("pipeline DEVICE=cuda:1", " --for-gpu", " --for-gpu"),
            ("torch", "", ""),
            ("compare", "", ""),
            ("lint", "", ""),
            ("docs", "", ""),
            ("test", " --for-tests", " --for-tests"),
            ("faults", " --for-tests", " --for-tests"),
            ("fuzz", None, None),
            ("status", None, None),
        ],
    )
    def test_and_for_what(self, tmp_path, typed, without_gpu, with_gpu):
        machine = Machine(tmp_path)
        machine.put("bin/python3", NEW)
        for expected in (without_gpu, with_gpu):
            found = re.findall(r"pipeline\.engines\.torch\.setup(.*)", machine.make("-n", *typed.split()))
            assert found == ([] if expected is None else [expected])
            machine.put("bin/nvidia-smi", "")
