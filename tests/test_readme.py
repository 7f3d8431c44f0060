"""Every command and every program that the README names, as it stands there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from pipeline.operations.schedule import crontab, systemd
from tests.checkout import ROOT

README = (ROOT / "README.md").read_text()

pytestmark = pytest.mark.xdist_group("makefile")

ELSEWHERE = {
    "make bench": "it measures for many minutes; bench/README.md says what",
    "make compare SEEDS=1,2": "tests/test_comparison.py compares engines in a checkout",
    "make docs": ".ci/run",
    "make lint": ".ci/run",
    "make pipeline ENGINE=theano": "tests/test_engine_theano.py trains with the environment that is there",
    "make test": ".ci/run",
    "make theano": "tests/test_theano_setup.py, and where no environment is there, the first test that needs it",
}
"""Commands that are not typed here, and what sees to them."""

AS_TYPED = {
    "make configure ARCHIVE=path": "make configure ARCHIVE=mine.tar.gz",
    "make pipeline ARCHIVE=path": "make pipeline ARCHIVE=mine.tar.gz",
    "make schedule EVERY=daily": "make schedule EVERY=daily DRY=1",
    "make unschedule": "make unschedule DRY=1",
    "pip install -e '.[tensorboard]'": "pip install --dry-run -e '.[tensorboard]'",
    "pip install onnx": "pip install --require-hashes -r requirements/export.txt",
    "tensorboard --logdir outputs/latest": "ls outputs/latest/*/events.out.tfevents.*",
}
"""What is typed for those that would leave traces, go on for ever, or name nobody's file."""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def commands():
    """List the lines of blocks for the shell and the commands inside sentences, each once."""
    sentences = re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S)
    inline = re.findall(r"`((?:make|luigi|python|pip|tensorboard) [^`]*)`", sentences)
    return list(dict.fromkeys([*"".join(blocks("sh")).splitlines(), *inline]))


def programs():
    return [block for block in blocks("python") if "..." not in block]


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
    clone.shell("make pipeline && make demo")  # what the README has its reader type first, and what it installs
    clone.shell(f". .venv/bin/activate && {AS_TYPED['pip install onnx']}")
    yield clone
    config.write_text(before)


@pytest.mark.parametrize("command", [command for command in commands() if command not in ELSEWHERE])
def test_command(set_up, command):
    if command.startswith("make schedule") and not (systemd.is_running() or crontab.is_there()):
        pytest.skip("nothing here starts programs at set times; `apt-get install cron` installs what does")
    set_up.shell(f". .venv/bin/activate && {AS_TYPED.get(command, command)}")


@pytest.mark.parametrize("program", programs())
def test_program(set_up, program):
    (set_up.folder / "program.py").write_text(program)
    set_up.shell(". .venv/bin/activate && python program.py")


def test_no_command_is_only_said_to_be_tested():
    assert set(ELSEWHERE) | set(AS_TYPED) <= set(commands())


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()
