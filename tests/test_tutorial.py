"""Follow docs/tutorial/first-network.md from the first line to the last."""

from __future__ import annotations

import re

import pytest

from tests.checkout import STAGES
from tests.pages import Page

PAGE = Page("docs/tutorial/first-network.md")
ACCURACY = r"test accuracy 0\.\d{4}"


@pytest.fixture
def followed(clone):
    """The clone; the network that the page declares is taken out of it at the end."""
    networks = clone.folder / "pipeline" / "networks" / "declared.py"
    before = networks.read_text()
    yield clone
    networks.write_text(before)


@pytest.mark.xdist_group("makefile")
def test_each_step(followed):
    clone = followed
    declared = clone.folder / "pipeline" / "networks" / "declared.py"
    program, network, entry = PAGE.blocks("python")
    (clone.folder / "digit.py").write_text(program)
    typed = iter(PAGE.typed())

    def step(expected):
        command = next(typed)
        if expected == "environment":
            assert command == ". .venv/bin/activate"
            return ""
        if command.startswith("make pipeline"):
            command += " ARCHIVE=mine.tar.gz EPOCHS=1"
        printed = clone.shell(f". .venv/bin/activate 2>/dev/null; {command}")
        assert re.search(expected, printed), printed
        return printed

    step("EvaluateCNN: " + ACCURACY)
    step(f"{len(STAGES)} reused")
    assert step(" cached ").count(" cached ") == len(STAGES)
    asked = step(r"TrainMLP +to run +\w+ +learning_rate 0.01 -> 0.02")
    assert re.search(r"TrainCNN +to run +\w+ +learning_rate 0.005 -> 0.02", asked)
    assert asked.count(" cached ") == 4
    step("4 reused, 7 computed")
    step(f"{len(STAGES)} reused")
    step("learning_rate 0.005 -> 0.02: CNN ")
    step("environment")
    step("^$")
    step(r"digit.png  three 0\.9|digit.png  three 1\.0")

    text = declared.read_text()
    start = text.index("NETWORKS: ")
    end = text.index("}", start)
    declared.write_text(f"{text[:start]}{network}\n{text[start:end]}{entry}{text[end:]}")
    printed = step("10 reused, 4 computed")
    assert "15898 parameters" in printed
    assert re.search(rf"EvaluateSMALL: {ACCURACY}", printed)
    step(r"digit.png  three ")
    step(r"EvaluateSMALL: " + ACCURACY)
    assert next(typed, None) is None
