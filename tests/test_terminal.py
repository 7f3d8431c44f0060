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


LENIENT = "from pipeline.terminal import outlast; outlast()\n"


def shell(command, program=LENIENT, **environment):
    """Run a shell command around a program; return its exit status and what it prints."""
    run = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | environment | {"PYTHON": sys.executable, "PROGRAM": program},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout.decode(errors="surrogateescape")


class TestAConsoleThatCannotBeWrittenTo:
    PROGRAM = f"""{LENIENT}
import sys
for number in range(100_000):
    print(number)
    sys.stdout.flush()
sys.exit(7)
"""

    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @pytest.mark.parametrize(
        ("command", "printed"),
        [
            ('"$PYTHON" -c "$PROGRAM" | head -2; exit "${PIPESTATUS[0]}"', "0\n1\n"),
            ('"$PYTHON" -c "$PROGRAM" >&-', ""),
            ('"$PYTHON" -c "$PROGRAM" >/dev/full', ""),
            ('"$PYTHON" -c "$PROGRAM" >&- 2>&- <&-', ""),
            ('"$PYTHON" -c "$PROGRAM" >/dev/full 2>/dev/full', ""),
        ],
    )
    def test_changes_neither_what_is_done_nor_its_exit_status(self, command, printed, unbuffered):
        assert shell(command, self.PROGRAM, PYTHONUNBUFFERED=unbuffered) == (7, printed)

    def test_gets_escapes_for_what_its_encoding_lacks(self):
        program = f"{LENIENT}print('caf\\xe9 \\udcff')"
        ascii_only = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "", "LC_ALL": "C"}

        assert shell('"$PYTHON" -c "$PROGRAM"', program, **ascii_only) == (0, "caf\\xe9 \\udcff\n")
        assert shell('"$PYTHON" -c "$PROGRAM"', program, PYTHONUTF8="1") == (0, "café \\udcff\n")

    def test_keeps_what_was_printed_before(self):
        assert shell('"$PYTHON" -c "$PROGRAM"', f"print('first')\n{LENIENT}print('then')") == (0, "first\nthen\n")
