"""Colour is for people at a terminal, who can switch it off."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys

import pytest

from pipeline.files.locks import Lock
from pipeline.progress import console
from tests.checkout import STAGES

PROGRAM = (
    "from pipeline.progress.terminal import highlighted; print(highlighted('TrainCNN: computed, EvaluateCNN: to run'))"
)


def on_a_terminal(command, env, cwd=None):
    """Run a command on a terminal, and return what it writes there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=env)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # Linux's word for the end of a terminal
        while more := os.read(ours, 10_000):
            written += more
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode().replace("\r\n", "\n")


def printed_on_a_terminal(**environment):
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    return on_a_terminal([sys.executable, "-c", PROGRAM], variables | environment).strip()


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


@pytest.fixture(scope="module")
def checkout(states, tmp_path_factory):
    """A checkout whose images have been called by the name of a state."""
    made = states.copy("new", tmp_path_factory.mktemp("terminal") / "checkout")
    made.run("--ConvertToHDF5-title", "cached", task="ConvertToHDF5")
    return made


class TestTables:
    def lines(self, checkout, *arguments, **environment):
        command = [sys.executable, "-m", "pipeline", *arguments]
        variables = checkout.environment(**{"TERM": "xterm", "NO_COLOR": ""} | environment)
        lines = on_a_terminal(command, cwd=checkout.folder, env=variables).splitlines()
        return [line for line in lines if not line.startswith("The last run had ")]

    def test_of_status_colour_the_state_alone(self, checkout):
        flags = (*checkout.flags(), "--ConvertToHDF5-title", "running")
        training = checkout.folder / checkout.status(*flags)["TrainMLP"]["path"]
        training.parent.mkdir(exist_ok=True)
        with Lock(training.with_name(f".{training.name}.lock")).held(print):
            lines = self.lines(checkout, "status", *flags)

        rows = {line.split()[0]: line for line in lines}
        assert rows["DownloadCIFAR"].startswith("DownloadCIFAR  \x1b[2mcached\x1b[0m   ")
        assert rows["ConvertToHDF5"].startswith("ConvertToHDF5  \x1b[33mto run\x1b[0m   ")
        assert rows["ConvertToHDF5"].endswith("title cached -> running")
        assert rows["TrainMLP"].startswith("TrainMLP       \x1b[36mrunning\x1b[0m  ")
        assert [line.count("\x1b[0m") for line in lines] == [0] + [1] * len(STAGES)

    def test_of_the_history_colour_what_became_of_a_run(self, checkout):
        _, run, *_ = self.lines(checkout, "history")

        assert run.endswith("  \x1b[32mok\x1b[0m       2 computed")
        assert run.count("\x1b[0m") == 1

    @pytest.mark.parametrize("command", ["status", "history"])
    def test_are_plain_where_no_colour_is_wanted(self, checkout, command):
        done = checkout.call(sys.executable, "-m", "pipeline", command, *checkout.flags())

        assert "\x1b" not in done.stdout
        assert self.lines(checkout, command, *checkout.flags(), NO_COLOR="1") == done.stdout.splitlines()


SHARED = """
import multiprocessing, os, signal, sys, time
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.terminal import prepare_console

def work(name, is_killed):
    with ConsoleMonitor(name, "stage 1 of 2", alone=False) as monitor:
        barrier.wait()
        for number in range(100):
            monitor.progress(number, 100, "steps")
            monitor.log(f"line {number}")
            print(f"{name} warns of {number}", file=sys.stderr)
            barrier.wait()
        if is_killed:
            os.kill(os.getpid(), signal.SIGKILL)
    print(f"{name} ends")

prepare_console()
fork = multiprocessing.get_context("fork")
barrier = fork.Barrier(3)
workers = [fork.Process(target=work, args=(name, name == "c")) for name in "abc"]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("the end")
"""


class Screen:
    """What a terminal that is high and wide enough shows of a text with the movements of a cursor in it."""

    COLUMNS = 80

    def __init__(self):
        self.rows = [""]
        self.row = self.column = 0
        self.most_bars = 0

    def feed(self, text):
        for piece in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
            if piece == "\r":
                self.column = 0
            elif piece == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row == len(self.rows))
            elif piece == "\x1b[A":
                self.row -= 1
            elif piece == "\x1b[J":
                self.rows[self.row :] = [self.rows[self.row][: self.column]]
            elif not piece.endswith("m"):
                before, after = (
                    self.rows[self.row].ljust(self.column)[: self.column],
                    self.rows[self.row][self.column :],
                )
                self.rows[self.row] = before + piece + after[len(piece) :]
                self.column += len(piece)
                assert self.column < self.COLUMNS or "%|" not in self.rows[self.row]  # or it would go on below
            self.most_bars = max(self.most_bars, sum("%|" in row for row in self.rows))
        return self


ALONE = """
import sys
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.terminal import prepare_console

prepare_console()
with ConsoleMonitor("a", "stage 1 of 2") as monitor:
    for number in range(100):
        monitor.progress(number, 100, "steps")
        monitor.log(f"line {number}")
        print(f"a warns of {number}", file=sys.stderr)
"""


class TestOneProcess:
    def test_has_a_bar_below_lines_that_stay_whole(self):
        screen = Screen().feed(on_a_terminal([sys.executable, "-c", ALONE], os.environ | {"TERM": "xterm"}))

        assert screen.most_bars == 1
        assert screen.rows == [
            *(text for number in range(100) for text in (f"line {number}", f"a warns of {number}")),
            "",
        ]

    def test_has_no_bar_where_another_program_prints_its_lines_on_the_terminal(self):
        command = ["bash", "-c", '"$0" -c "$1" | tee /dev/null', sys.executable, ALONE]
        screen = Screen().feed(on_a_terminal(command, os.environ | {"TERM": "xterm"}))

        lines = [text for number in range(100) for text in (f"line {number}", f"a warns of {number}")]
        assert sorted(screen.rows) == sorted([*lines, ""])


class TestSeveralProcesses:
    def test_have_a_bar_each_below_lines_that_stay_whole(self):
        screen = Screen().feed(on_a_terminal([sys.executable, "-c", SHARED], os.environ | {"TERM": "xterm"}))

        said = [f"{name} | line {number}" for name in "abc" for number in range(100)]
        warned = [f"{name} warns of {number}" for name in "abc" for number in range(100)]
        assert screen.most_bars == 3
        assert sorted(screen.rows) == sorted([*said, *warned, "a ends", "b ends", "the end", ""])

    def test_one_that_was_killed_has_no_bar_where_its_number_is_another_users_by_now(self):
        """Process 1 is the system's; a user may not ask for it."""
        program = (
            "import os\n"
            "from pipeline.progress.live_lines import LiveLines\n"
            "lines = LiveLines(2)\n"
            "with lines.hidden() as shown: shown['1'] = 'bar of a killed process'\n"
            "if os.geteuid() == 0: os.setuid(65534)\n"
            "lines.show('own bar')\n"
            "with lines.hidden() as shown: print(*shown.values())\n"
        )

        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

        assert (run.returncode, run.stdout) == (0, "own bar\n"), run.stderr

    def test_print_plain_lines_into_a_log(self):
        run = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, check=True)

        assert "\x1b" not in run.stdout + run.stderr
        assert run.stdout.count(" | line ") == 300

    def test_are_the_stages_of_a_run(self, checkout):
        epochs = {"TrainMLP": 100, "TrainCNN": 20}
        flags = ["--TrainMLP-learning-rate", "0.001", "--workers", "2"]
        flags += [text for stage, count in epochs.items() for text in (f"--{stage}-epochs", str(count))]
        command = checkout.command("Pipeline", *checkout.flags(), *flags)
        variables = checkout.environment(TERM="xterm", NO_COLOR="1")

        screen = Screen().feed(on_a_terminal(command, cwd=checkout.folder, env=variables))

        assert screen.most_bars == 2
        assert not any("%|" in row for row in screen.rows)
        for stage, count in epochs.items():
            row = re.compile(rf"{stage} \|  +\d+(  +\d+\.\d{{5}}){{4}}  +\d+\.\d\ds( \*)?")
            assert sum(bool(row.fullmatch(shown)) for shown in screen.rows) == count
        for number, stage in enumerate(STAGES[3:], start=4):
            assert sum(row.startswith(f"{stage} (stage {number} of 11): computed, ") for row in screen.rows) == 1


LENIENT = "from pipeline.progress.terminal import prepare_console; prepare_console()\n"


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


def test_the_rate_of_one_kind_of_work_does_not_count_another(monkeypatch, capsys):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LOG_LINES", 0)
    with console.ConsoleMonitor("TrainCNN") as monitor:
        monitor.progress(5_000_000, 5_000_000, "B")  # a fetch
        monitor.progress(0, 100, "images")
        monitor.progress(50, 100, "images")
    assert "-" not in capsys.readouterr().out.splitlines()[-1].partition("[")[2]
