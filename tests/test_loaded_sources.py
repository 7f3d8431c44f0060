"""The code that a process has loaded, and the code on the disk from which keys are made."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

NOTEBOOK = """
import logging, luigi, sys
from luigi.cmdline_parser import CmdlineParser
import tasks
from pipeline.data import {module}

path = "pipeline/data/{module}.py"
text = open(path).read()
assert {old!r} in text
open(path, "w").write(text.replace({old!r}, {new!r}))
with CmdlineParser.global_instance(["Grayscale2D", *{flags!r}], allow_override=True):
    luigi.build([tasks.data.Grayscale2D()], local_scheduler=True)
"""


def edited_in_a_notebook(checkout, module, old, new):
    program = NOTEBOOK.format(module=module, old=old, new=new, flags=checkout.flags()[:2])
    return checkout.call(sys.executable, "-c", program)


def test_code_edited_after_it_was_loaded_is_refused(checkout):
    done = edited_in_a_notebook(checkout, "grayscale", "gray /= _WHITE", "gray /= 2 * _WHITE")
    assert done.returncode == 1
    assert "pipeline.data.grayscale.grayscale was edited after this process had loaded it" in done.stderr
    assert "restart the kernel" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(checkout.results("Grayscale2D")) == 1
    assert checkout.run(task="Grayscale2D")["Grayscale2D"] == "computed"


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("grayscale", "gray /= _WHITE", "gray /= _WHITE  # 255"),
        ("grayscale", "def make_flat(", "def unused():\n    pass\n\n\ndef make_flat("),
        ("digits", "BATCH_SIZE = 299", "BATCH_SIZE = 298"),
    ],
    ids=["a comment", "an unused function", "another stage's module"],
)
def test_an_edit_that_the_stage_does_not_reach_is_not_refused(checkout, module, old, new):
    done = edited_in_a_notebook(checkout, module, old, new)
    assert done.returncode == 0, done.stderr
    assert len(checkout.results("Grayscale2D")) == 1


def test_a_module_that_is_loaded_again_is_refused_where_others_hold_what_it_was(checkout):
    """``from pipeline.data.dataset import ...`` in another module still holds the object of the first loading."""
    program = """
import importlib
import tasks
from pipeline.data import dataset, grayscale
path = "pipeline/data/dataset.py"
text = open(path).read()
open(path, "w").write(text.replace("MAX_CLASSES = 256", "MAX_CLASSES = 255"))
importlib.reload(dataset)
from luigi.cmdline_parser import CmdlineParser
with CmdlineParser.global_instance(["Grayscale2D", *{flags!r}], allow_override=True):
    tasks.data.Grayscale2D()
"""
    done = checkout.call(sys.executable, "-c", program.format(flags=checkout.flags()[:2]))
    assert done.returncode == 1
    assert "pipeline.data.dataset.MAX_CLASSES was edited after this process had loaded it" in done.stderr


def test_files_that_were_compiled_for_good_do_not_count(checkout):
    command = [sys.executable, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "pipeline"]
    subprocess.run(command, cwd=checkout.folder, check=True)
    module = checkout.folder / "pipeline" / "networks" / "arrays.py"
    module.write_text(module.read_text() + "\nNUMBER = 7\n")
    assert checkout.call(sys.executable, "-c", "from pipeline.networks.arrays import NUMBER").returncode == 0


def test_a_table_edited_after_it_was_loaded_is_refused(checkout):
    program = """
import tasks
from pipeline.report.article import runs
text = runs.RUNS_PATH.read_text()
runs.RUNS_PATH.write_text(text.replace("2.2", "2.3"))
from luigi.cmdline_parser import CmdlineParser
with CmdlineParser.global_instance(["Report", *{flags!r}], allow_override=True):
    tasks.whole.Report()
"""
    done = checkout.call(sys.executable, "-c", program.format(flags=checkout.flags()))
    assert done.returncode == 1
    assert "pipeline.report.article.runs.csv was edited after this process had loaded it" in done.stderr


def test_two_edits_within_a_second(checkout):
    """Python compiles a source anew only where its size or the second of its last change is another."""
    module = checkout.folder / "pipeline" / "networks" / "arrays.py"
    environment = checkout.environment()
    del environment["PYTHONDONTWRITEBYTECODE"]
    printed = []
    for number in (1, 2):
        module.write_text(f"NUMBER = {number}\n")
        os.utime(module, (1_000_000_000, 1_000_000_000))
        program = "from pipeline.networks import arrays; print(arrays.NUMBER)"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=checkout.folder, env=environment, capture_output=True, check=True
        )
        printed.append(done.stdout)
    assert printed == [b"1\n", b"2\n"]


def test_compiled_code_is_used_again(checkout):
    environment = checkout.environment()
    del environment["PYTHONDONTWRITEBYTECODE"]
    program = "import os; from pipeline import errors; print(os.stat(errors.__cached__).st_mtime_ns)"
    command = [sys.executable, "-c", textwrap.dedent(program)]
    first, second = (
        subprocess.run(command, cwd=checkout.folder, env=environment, capture_output=True, check=True).stdout
        for _ in range(2)
    )
    assert first == second


def test_the_code_of_another_checkout_is_refused(checkout, tmp_path):
    """So it is with a checkout that was copied with its environment, whose programs name the first one's Python."""
    other = checkout.copy(tmp_path / "other")
    command = checkout.command("EvaluateCNN", *checkout.flags())
    done = checkout.call(
        *[argument.replace("import sys;", "import sys; sys.path.remove('');") for argument in command], cwd=other.folder
    )
    assert done.returncode == 40
    assert f"this is the checkout {other.folder}" in done.stderr
    assert f"the code that would run is that of {checkout.folder}" in done.stderr
    assert "Traceback" not in done.stderr
