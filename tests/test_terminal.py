"""Colour is for people at a terminal, who can switch it off."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = "from pipeline.terminal import highlighted; print(highlighted('TrainCNN: computed, EvaluateCNN: to run'))"


def printed_on_a_terminal(**environment):
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    subprocess.run([sys.executable, "-c", PROGRAM], stdout=theirs, env=variables | environment, check=True)
    os.close(theirs)
    text = os.read(ours, 1000).decode()
    os.close(ours)
    return text.strip()


def test_a_terminal_shows_each_state_in_its_colour():
    assert (
        printed_on_a_terminal(TERM="xterm") == "TrainCNN: \x1b[32mcomputed\x1b[0m, EvaluateCNN: \x1b[33mto run\x1b[0m"
    )


@pytest.mark.parametrize("environment", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_it_can_be_switched_off(environment):
    assert printed_on_a_terminal(**environment) == "TrainCNN: computed, EvaluateCNN: to run"


def test_an_empty_no_color_does_not_count():
    assert "\x1b[" in printed_on_a_terminal(TERM="xterm", NO_COLOR="")


def test_a_log_is_plain():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert run.stdout == "TrainCNN: computed, EvaluateCNN: to run\n"
