"""The cache of compiled kernels: damaged files are compiled again and never run."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys

import pytest

from tests.checkout import ROOT, libraries

PROGRAM = """
import numpy as np
from numba.core import event
from pipeline.engines.numba.compiler import compile_for, entry_point, is_compiled

@entry_point
def double(values):
    for place in range(len(values)):
        values[place] *= 2

@entry_point
def triple(values):
    for place in range(len(values)):
        values[place] *= 3

values = np.ones(3)
with event.install_recorder("numba:compile") as recorder:
    before = is_compiled(double), is_compiled(triple)
    compile_for(double, values)
compile_for(triple, values)
double(values)
triple(values)
print(values.tolist(), before, len(recorder.buffer) > 0, is_compiled(double))
"""

COMPILED = "[6.0, 6.0, 6.0] (False, False) True True\n"
LOADED = "[6.0, 6.0, 6.0] (True, True) False True\n"
COMPILED_AGAIN = "[6.0, 6.0, 6.0] (True, True) True True\n"


class Program:
    COMMAND = ("-c", "import program")

    def __init__(self, folder, cache):
        self._folder, self.cache = folder, cache
        (folder / "program.py").write_text(PROGRAM)

    def start(self, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *self.COMMAND], env=self._environment(), **pipes, **options)

    def run(self):
        """Run in a process that has imported Numba already."""
        done = libraries().run(self.COMMAND, folder=self._folder, environment=self._environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _environment(self):
        path = os.pathsep.join([str(self._folder), str(ROOT)])
        # On a full disk Python keeps the beginning of the bytecode that it writes, and fails to read it later.
        without_bytecode = {"PYTHONDONTWRITEBYTECODE": "1"}
        return os.environ | without_bytecode | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(self.cache)}

    def files(self, pattern):
        return sorted(self.cache.glob(f"kernels-*/*/{pattern}"))


@pytest.fixture
def new(tmp_path):
    """A program that has never run."""
    return Program(tmp_path, tmp_path / "cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    made = Program(folder, folder / "cache")
    assert made.run() == COMPILED
    return made


@pytest.fixture
def program(finished, tmp_path):
    """A program that another process has run, with a copy of its cache."""
    shutil.copytree(finished.cache, tmp_path / "cache")
    return Program(finished._folder, tmp_path / "cache")


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_another_process_compiles_nothing(program):
    assert program.run() == LOADED


def test_the_same_sources_in_another_folder_compile_nothing(program, tmp_path):
    (tmp_path / "moved").mkdir()
    assert Program(tmp_path / "moved", program.cache).run() == LOADED


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [("double*.nbi", cut), ("triple*.nbi", os.unlink), ("double*.nbc", empty), ("triple*.nbc", flip_a_bit)],
    ids=["index cut", "index missing", "code empty", "bit of code flipped"],
)
def test_a_damaged_file_is_compiled_again(program, pattern, damage):
    [path] = program.files(f"program.{pattern}")
    damage(path)
    assert program.run() == COMPILED_AGAIN
    assert program.run() == LOADED


def test_swapped_files_are_compiled_again(program):
    one, other = program.files("*.nbc")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert program.run() == COMPILED_AGAIN


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": 1}'], ids=["deep", "other names"])
def test_without_a_list_of_digests_all_is_compiled_again(program, content):
    [path] = program.cache.glob("kernels-*/digests.json")
    path.write_text(content)
    assert "True True" in program.run()
    assert program.run() == LOADED


def test_an_unlisted_file_is_removed(program):
    """A process that was killed leaves one."""
    [path] = program.files("program.double*.nbc")
    (path.parent / "another.nbc").write_bytes(b"")
    assert program.run() == COMPILED_AGAIN
    assert not (path.parent / "another.nbc").exists()


def test_one_of_two_simultaneous_processes_compiles(new):
    printed = sorted(process.communicate()[0] for process in [new.start(), new.start()])
    assert [line.split(") ")[1] for line in printed] == ["False True\n", "True True\n"]


def test_on_a_full_disk_the_kernels_still_run(new):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    assert new.start(preexec_fn=limit).communicate()[0] == COMPILED
    assert new.run() == COMPILED
    assert new.run() == LOADED


def test_without_a_writable_folder_the_kernels_still_run(new):
    new.cache.write_text("a file in place of the folder")
    assert new.run() == COMPILED
