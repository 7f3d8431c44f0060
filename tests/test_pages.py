"""Every command, program and link of the README, CONTRIBUTING.md and docs/, and whether the reference is complete."""

from __future__ import annotations

import re
import subprocess
import sys

import luigi
import numpy as np
import pytest
from luigi.task_register import Register
from PIL import Image

from pipeline.operations.schedule import crontab, systemd
from tasks.configuration import make_variables
from tasks.luigi_adapter.configuration import is_base_class
from tests.checkout import ROOT, STAGES
from tests.pages import Page, is_defined, pages

README = Page("README.md")
READ = pages("README.md", "CONTRIBUTING.md", "docs/**/*.md")
LINKED = pages("*.md", "docs/**/*.md", "bench/*.md", "requirements/*.md", "pipeline/**/*.md", "tests/**/*.md")

FOLLOWED = {
    "docs/explanation/one-convolution.md": "tests/test_one_convolution.py",
    "docs/how-to/own-data.md": "tests/test_own_data.py",
    "docs/how-to/own-stage.md": "tests/test_own_stage.py",
    "docs/tutorial/first-network.md": "tests/test_tutorial.py",
}
"""Pages of which a test of their own does each step in order."""

ELSEWHERE = {
    ".venv/bin/python -m tests.compiled_kernels cnn 90": "tests/test_compiled_kernels.py",
    "TRITON_INTERPRET=1 .venv/bin/python -m pytest tests/test_fused_engines.py -k triton": ".ci/run runs these tests",
    "LUIGI_CONFIG_PATH=luigid.cfg luigi --module tasks Pipeline": "tests/test_luigid.py",
    "LUIGI_CONFIG_PATH=luigid.cfg luigid --background --address 10.0.0.5 --logdir .cache": "tests/test_luigid.py",
    "LUIGI_CONFIG_PATH=luigid.cfg luigid --background --address 127.0.0.1 --logdir .cache": "tests/test_luigid.py",
    "make audit": "it asks PyPI and npm about every package",
    "make bench": "it measures for three quarters of an hour",
    "make check-gpu": "tests/test_check_gpu.py, and on a GPU by hand",
    "make clean": "tests/test_makefile.py",
    "make compare": "tests/test_comparison.py compares engines, tests/test_makefile.py has what is installed",
    "make compare SEEDS=1,2": "tests/test_comparison.py compares engines in a checkout",
    "make compare WORKERS=4 SEEDS=1,2,3,4": "it is for four GPUs; tests/test_lease.py has two, made up",
    "make distclean": "tests/test_clean.py",
    "make docs": ".ci/run",
    "make faults": "it breaks and kills runs for an hour",
    "make fuzz": "it reads 400,000 corrupted inputs",
    "make gc": "it asks a person; tests/test_makefile.py has `make gc DRY=1`",
    "make lint": ".ci/run",
    "make pipeline ENGINE=theano": "tests/test_engine_theano.py trains with the environment that is there",
    "make pipeline DEVICE=cpu SCHEDULER=10.0.0.5:8082 REMOTE=s3://bucket/prefix": "tests/test_shared_work.py",
    "make pipeline DEVICE=cuda:1": "it is for two GPUs; tests/test_lease.py makes them up",
    "make requirements": "it replaces every pinned version",
    "make test": ".ci/run",
    "make test ARGS=\"-m 'not slow and not registry'\"": ".ci/run runs these tests too",
    "make test lint docs": ".ci/run",
    "make worker SCHEDULER=10.0.0.5:8082 REMOTE=s3://bucket/prefix": "tests/test_shared_work.py",
    "make worker SCHEDULER=127.0.0.1:8082 REMOTE=s3://bucket/prefix": "tests/test_shared_work.py",
    "make worker SCHEDULER=host:8082 REMOTE=URL": "tests/test_shared_work.py",
    "ssh -f -N -L 8082:127.0.0.1:8082 node1": "it logs in to another machine",
    "sbatch --array=0-3 examples/cluster/slurm.sh pipeline DEVICE=cpu SCHEDULER=10.0.0.5:8082 "
    "REMOTE=file:///shared/results": "tests/test_clusters.py",
    "sbatch --job-name=luigid --wrap='LUIGI_CONFIG_PATH=luigid.cfg exec .venv/bin/luigid --address $SLURMD_NODENAME'": (
        "tests/test_clusters.py"
    ),
    "squeue --name=luigid --noheader --format=%N": "tests/test_clusters.py",
    "PIP_FIND_LINKS=/path/to/wheels make torch": "tests/test_torch_setup.py installs from a folder",
    "make torch": "tests/test_torch_setup.py",
    "make theano": "tests/test_theano_setup.py, and where no environment is there, the first test that needs it",
    "python -m tasks.scheduled": "tests/test_scheduled_run.py",
}
"""Commands that are not typed here, and the test or the reason."""

AS_TYPED = {
    "luigi --module tasks TASK": "luigi --module tasks Grayscale2D",
    "luigi --module tasks TASK --help": "luigi --module tasks Grayscale2D --help",
    "make configure ARCHIVE=path": "make configure ARCHIVE=mine.tar.gz",
    "make configure DATA=flowers ARCHIVE=flowers.tar.gz": "make configure DATA=flowers ARCHIVE=mine.tar.gz && "
    "make configure DATA= ARCHIVE=",
    "make configure DEMO=1": "make configure DEMO=1 && make configure DEMO=",
    "make configure REMOTE=file:///mnt/share/results": "make configure REMOTE=file:///mnt/share/results && "
    "make configure REMOTE=",
    "make configure SEED=7": "make configure SEED=7 && make configure SEED=",
    "make pipeline DEVICE=cpu REMOTE=file:///shared/results": "make pipeline DEVICE=cpu REMOTE=file://$PWD/.cache/shared",
    "make schedule EVERY='Mon..Fri 02:30' ARCHIVE=/data/cifar-10-python.tar.gz DRY=1": (
        "make schedule EVERY='Mon..Fri 02:30' ARCHIVE=mine.tar.gz DRY=1"
    ),
    "make pull": "make pull REMOTE=file:///mnt/share/results",
    "make push": "make push REMOTE=file:///mnt/share/results",
    "make schedule EVERY=daily": "make schedule EVERY=daily DRY=1",
    "make schedule": "make schedule EVERY=daily DRY=1",
    "make unschedule": "make unschedule DRY=1",
    "pip install -e '.[tensorboard]'": "pip install --dry-run -e '.[tensorboard]'",
    "pip install onnx": "pip install --require-hashes -r requirements/export.txt",
    "python -m pipeline": "python -m pipeline --help",
    "python -m pipeline diff A B": "python -m pipeline diff EvaluateCNN EvaluateCNN",
    "python -m tasks TASK": "python -m tasks Grayscale2D",
    "tensorboard --logdir outputs/latest": "ls outputs/latest/*/events.out.tfevents.*",
}
"""Commands in the place of those that would leave traces, go on for ever, or name nobody's file."""


def commands():
    """List the commands of all pages, each once, but for the steps of those that a test of their own follows."""
    found = []
    for page in READ:
        found += page.mentioned() if page.name in FOLLOWED else [*page.typed(), *page.mentioned()]
    followed = {command for page in READ if page.name in FOLLOWED for command in page.typed()}
    return [command for command in dict.fromkeys(found) if command not in followed]


def programs():
    return [
        program
        for page in READ
        if page.name not in FOLLOWED
        for program in page.blocks("python")
        if "..." not in program
    ]


@pytest.fixture(scope="module")
def set_up(clone):
    """The clone with settings that make a run short, an archive, and pictures."""
    config = clone.folder / "luigi.cfg"
    before = config.read_text()
    config.write_text(
        before.replace("\narchive =\n", "\narchive = mine.tar.gz\n").replace("\nepochs =\n", "\nepochs = 1\n")
    )
    for name in ("dog.png", "ship.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(clone.folder / name)
    clone.shell("make pipeline && make demo")  # which the README has its reader type first
    clone.shell(f". .venv/bin/activate && {AS_TYPED['pip install onnx']}")
    yield clone
    config.write_text(before)


@pytest.mark.xdist_group("makefile")
class TestTyped:
    @pytest.mark.parametrize("command", [command for command in commands() if command not in ELSEWHERE])
    def test_command(self, set_up, command):
        if command.startswith("make schedule") and not (systemd.is_running() or crontab.is_there()):
            pytest.skip("nothing here starts programs at set times; `apt-get install cron` installs what does")
        typed = AS_TYPED.get(command, command).replace("/mnt/share", "$PWD/share")
        set_up.shell(f". .venv/bin/activate && mkdir -p share && {typed}")

    @pytest.mark.parametrize("program", programs())
    def test_program(self, set_up, program):
        (set_up.folder / "program.py").write_text(program)
        set_up.shell(". .venv/bin/activate && python program.py")


def test_no_command_is_only_listed():
    assert set(ELSEWHERE) | set(AS_TYPED) <= set(commands())


def test_a_reader_of_the_readme_is_soon_done():
    assert len(README.text.splitlines()) <= 150


@pytest.mark.parametrize(
    ("page", "text", "target"),
    [pytest.param(page, *link, id=f"{page.name}-{link[1]}") for page in LINKED for link in page.links()],
)
def test_links_lead_somewhere(page, text, target):
    name, _, anchor = target.partition("#")
    path = (page.path.parent / name).resolve() if name else page.path
    assert path.exists()
    tracked = subprocess.run(["git", "ls-files", "--", str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert tracked.stdout
    if anchor:
        assert anchor in Page(str(path.relative_to(ROOT))).anchors
    if path.suffix == ".py" and (function := re.fullmatch(r"`(?:\w+\.)?(\w+)(?<!\.py)`", text)):
        assert is_defined(function[1], path)


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_paths_in_sentences_exist(page):
    found = re.findall(
        r"`((?:bench|docs|examples|fuzz|pipeline|requirements|tasks|tests)/[^\s`:]*|test_\w+\.py)`", page.prose
    )
    paths = [ROOT / "tests" / path if path.startswith("test_") else ROOT / path for path in found]
    own = {"histogram.py", "html"}  # written by the reader of a page, or by `make docs`
    missing = [
        path for path in paths if not (path.exists() or path.name in own or "NAME" in str(path) or "X.py" in path.name)
    ]
    assert missing == []


class TestReference:
    def test_every_target_of_make(self):
        targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
        page = Page("docs/reference/commands.md").prose
        assert [target for target in targets if not re.search(rf"^\| `make {target}[` ]", page, re.M)] == []

    def test_every_command_of_the_program(self):
        command = [sys.executable, "-m", "pipeline", "-h"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        names = re.findall(r"^    (\w+) ", done.stdout, re.M)
        assert "status" in names
        page = Page("docs/reference/commands.md").prose
        assert [name for name in names if not re.search(rf"^\| `{name}[` ]", page, re.M)] == []

    def test_every_variable_of_make(self):
        rows = {line.split("=")[0] for line in Page("docs/reference/settings.md").prose.splitlines()}
        assert {f"| `{name}" for name in make_variables.flags_of_variables()} <= rows

    def test_every_task_and_each_setting_that_is_only_a_flag(self):
        page, settings = Page("docs/reference/tasks.md").prose, (ROOT / "luigi.cfg").read_text()
        for task in map(Register.get_task_cls, Register.task_names()):
            is_ours = task.__module__.startswith("tasks.") and not is_base_class(task.__name__)
            if is_ours and not issubclass(task, luigi.Config):
                assert f"`{task.__name__}`" in page
                for setting, _ in task.get_params():
                    assert re.search(rf"^{setting} =", settings, re.M) or f"-{setting.replace('_', '-')}" in page

    def test_every_file_of_a_result(self, trained):
        page = Page("docs/reference/files.md").prose
        names = {path.name for stage in STAGES for path in trained.result(stage).iterdir()}
        assert "weights.h5" in names
        assert [name for name in names if f"`{name}`" not in page and not re.search(r"-mlp\.|\.svg$", name)] == []
