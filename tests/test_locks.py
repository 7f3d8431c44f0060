from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.files.locks import Lock

ROOT = Path(__file__).parents[1]

HOLD = """
import sys
from pathlib import Path
from pipeline.files.locks import Lock

with Lock(Path(sys.argv[1]), "first line\\nsecond line").held(lambda holder: print("waits for", holder, flush=True)):
    print("holds", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""

COUNT = """
import sys
from pathlib import Path
from pipeline.files.locks import Lock

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(rounds):
    with Lock(folder / "lock").held(lambda _: None):
        (folder / "inside").mkdir()  # fails if another is inside
        count = int((folder / "count").read_text())
        (folder / "count").write_text(str(count + 1))
        (folder / "inside").rmdir()
"""

HERE = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@contextmanager
def another(path):
    """Start a process that takes the lock and gives it back once it reads a line."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process):
    return process.stdout.readline().rstrip("\n")


def name(process):
    return f"process {process.pid} on {socket.gethostname()}"


class TestHolder:
    def test_a_free_lock_has_none(self, path):
        assert Lock(path).holder() is None
        assert Lock(path).note() is None
        assert not path.exists()

    def test_names_this_process(self, path):
        with Lock(path, "because").held(pytest.fail):
            assert Lock(path).holder() == HERE
            assert Lock(path).note() == "because"

        assert Lock(path).holder() is None
        assert not path.exists()

    def test_names_another_process(self, path):
        with another(path) as process:
            assert says(process) == "holds"

            assert Lock(path).holder() == name(process)
            assert Lock(path).note() == "first line\nsecond line"

    def test_gives_back_after_an_error(self, path):
        with pytest.raises(ZeroDivisionError), Lock(path).held(pytest.fail):
            _ = 1 / 0

        assert Lock(path).holder() is None
        assert not path.exists()


class TestTried:
    def test_takes_a_free_lock(self, path):
        with Lock(path).tried() as taken:
            assert taken
            assert Lock(path).holder() == HERE

        assert not path.exists()

    def test_leaves_a_held_lock_to_its_holder(self, path):
        with another(path) as process:
            assert says(process) == "holds"

            with Lock(path).tried() as taken:
                assert not taken

            assert Lock(path).holder() == name(process)


class TestWaiting:
    def test_says_for_whom_and_goes_on(self, path):
        with Lock(path).held(pytest.fail):
            with another(path) as process:
                assert says(process) == f"waits for {HERE}"
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            assert Lock(path).holder() == HERE

    def test_gets_the_lock_when_it_is_given_back(self, path):
        with another(path) as first:
            assert says(first) == "holds"
            with another(path) as second:
                assert says(second) == f"waits for {name(first)}"
                first.stdin.write("\n")
                first.stdin.flush()

                assert says(first) == "released"
                assert says(second) == "holds"
                assert Lock(path).holder() == name(second)

    def test_gets_the_lock_when_its_holder_is_killed(self, path):
        with another(path) as first:
            assert says(first) == "holds"
            with another(path) as second:
                assert says(second) == f"waits for {name(first)}"
                first.send_signal(signal.SIGKILL)

                assert says(second) == "holds"
                assert Lock(path).holder() == name(second)
                assert Lock(path).note() == "first line\nsecond line"


class TestLeftBehind:
    @pytest.fixture
    def left_behind(self, path):
        """Leave a lock's file whose owner was killed."""
        with another(path) as process:
            assert says(process) == "holds"
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert path.exists()
        return path

    def test_holds_nothing(self, left_behind):
        assert Lock(left_behind).holder() is None
        assert Lock(left_behind).note() is None

    def test_is_taken_over(self, left_behind):
        with Lock(left_behind, "mine").held(pytest.fail):
            assert Lock(left_behind).holder() == HERE
            assert Lock(left_behind).note() == "mine"

        assert not left_behind.exists()

    def test_shorter_text_replaces_longer(self, path):
        path.write_text("x" * 10_000)

        with Lock(path).tried() as taken:
            assert taken
            assert Lock(path).holder() == HERE
            assert Lock(path).note() == ""


def test_never_two_inside(tmp_path):
    """The file comes and goes with each holder, which is where such locks go wrong."""
    (tmp_path / "count").write_text("0")

    processes = [subprocess.Popen([sys.executable, "-c", COUNT, tmp_path, "150"], cwd=ROOT) for _ in range(4)]

    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "count").read_text() == "600"
    assert not (tmp_path / "lock").exists()


def test_a_program_that_the_owner_starts_does_not_hold_it(path):
    with Lock(path).held(pytest.fail):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)

    try:
        with Lock(path).tried() as taken:
            assert taken
    finally:
        child.communicate(b"\n")
