"""`make check-gpu`, where there is no GPU, and how it ends its parts anywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.made_up_machine import CARDS, write_driver, write_pytorch

torch = pytest.importorskip("torch")


def check_gpu(*arguments, status, out, code=("-m", "check_gpu")):
    environment = os.environ | {"PYTHONPATH": "bench", "OUT": str(out)}
    command = [sys.executable, *code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_why_and_what_it_would_do(tmp_path):
    printed = check_gpu(status=2, out=tmp_path)

    assert printed.startswith("Nothing was checked: device is cuda, but ")
    for part in ("tests of torch", "trainings torch", "layouts", "check-device", "profile", "table", "epochs"):
        assert f"\n  {part} " in printed


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_make_passes_its_variables_on(tmp_path):
    variables = ["WHEELS=docs", f"PYTHON={sys.executable}", f"OUT={tmp_path}"]

    done = subprocess.run(["make", "check-gpu", *variables], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "--wheels is docs, which has no wheels; " in done.stderr


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--only", "layuots"], "--only names layuots; expected some of data, "),
        (["--archive", "missing.tar.gz"], "--archive is missing.tar.gz, and no such file is there"),
        (["--out", "Makefile/out"], "--out is Makefile/out, which cannot be written: Not a directory"),
        (["--seconds", "0"], "--seconds is 0; expected at least 1"),
        (["--wheels", "docs"], "--wheels is docs, which has no wheels; `pip download"),
        (["--device", "gpu"], "--device: invalid choice: 'gpu'"),
    ],
)
def test_a_wrong_option(tmp_path, typed, message):
    printed = check_gpu(*typed, status=1 if "--wheels" in typed else 2, out=tmp_path)

    assert message in printed


def test_a_part_leaves_a_summary_figures_and_a_log(tmp_path):
    printed = check_gpu("--device", "cpu", "--only", "layouts", status=0, out=tmp_path)

    assert "A trial on the CPU: no GPU is checked." in printed
    assert "PASS: 1 pass, 0 fail, 0 not run" in printed
    summary = (tmp_path / "summary.txt").read_text()
    assert "\npass    layouts" in summary
    own, *figures = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert own["part"] == "layouts"
    assert own["status"] == "pass"
    assert len(figures) == 6
    of_engine = [figure for figure in figures if figure["name"].startswith("channels last")]
    assert all(figure["flat stays flat"] and figure["same bits"] for figure in of_engine)
    assert "flat stays flat" in (tmp_path / "logs/layouts.log").read_text()


def test_what_has_no_time_left_is_named(tmp_path):
    printed = check_gpu("--device=cpu", "--only=layouts,profile", "--seconds=1", status=1, out=tmp_path)

    assert "\nnot run layouts" in printed
    assert "\nnot run profile" in printed
    assert "FAIL: 0 pass, 0 fail, 2 not run" in printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_ended_still_has_a_summary(tmp_path, number):
    environment = os.environ | {"PYTHONPATH": "bench", "OUT": str(tmp_path)}
    command = [sys.executable, "-m", "check_gpu", "--device=cpu", "--only=layouts"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as process:
        wait_until((tmp_path / "logs/layouts.log").exists)
        process.send_signal(number)
        printed = process.stdout.read()

    assert process.returncode == 1
    assert "\nnot run layouts" in printed
    assert "Traceback" not in printed
    assert "\nFAIL: 0 pass, 0 fail, 1 not run" in (tmp_path / "summary.txt").read_text()


RUN = """
import json, sys, time
from pathlib import Path
from check_gpu import processes
from check_gpu.parts import Part

parts = [Part(name, "", ("-c", code), seconds) for name, code, seconds in json.loads(sys.argv[2])]
outcomes = []
limit, at_once = json.loads(sys.argv[3])
processes.run(parts, time.monotonic() + limit, Path(sys.argv[1]), at_once=at_once, on_end=outcomes.append)
print(json.dumps([[each.part.name, each.status, each.note, each.figures] for each in outcomes]))
"""


def outcomes(tmp_path, parts, limit=60, at_once=1):
    arguments = [str(tmp_path), json.dumps(parts), json.dumps([limit, at_once])]
    return json.loads(check_gpu(*arguments, status=0, out=tmp_path, code=("-c", RUN)))


HANGS = (
    "import subprocess, sys, time; print(subprocess.Popen(['sleep', '1000']).pid); sys.stdout.flush(); time.sleep(99)"
)


class TestParts:
    def test_each_goes_on_when_another_fails(self, tmp_path):
        figure = {"name": "a", "seconds": 1.5}
        found = outcomes(
            tmp_path,
            [
                ["fails", "import sys; print('first'); sys.exit('it is broken')", 30],
                ["crashes", "import os; os.abort()", 30],
                ["passes", f"print({json.dumps(figure)!r}); print('done'); print()", 30],
            ],
        )

        assert found[0] == ["fails", "fail", "it is broken", []]
        assert found[1][:2] == ["crashes", "fail"]
        assert found[2] == ["passes", "pass", "done", [figure]]

    def test_one_that_hangs_is_ended_with_all_that_it_started(self, tmp_path):
        [[name, status, note, _]] = outcomes(tmp_path, [["hangs", HANGS, 2]])

        assert (name, status) == ("hangs", "fail")
        assert note.startswith("ended after 2 s, its limit; ")
        wait_until(lambda: is_gone(int(note.split()[-1])))

    def test_all_end_when_the_time_is_up(self, tmp_path):
        figure = json.dumps({"name": "known so far", "seconds": 2})
        code = f"import time; print({figure!r}, flush=True); time.sleep(99)"
        found = outcomes(tmp_path, [["long", code, 90], ["next", "", 90]], limit=6)

        assert found[0][:2] == ["long", "not run"]
        assert found[0][3] == [json.loads(figure)]
        assert found[1] == ["next", "not run", "the whole check had no time left", []]

    def test_several_run_at_once(self, tmp_path):
        """Each waits for the file that the other one writes."""
        code = "import pathlib, time; pathlib.Path({!r}).touch(); other = pathlib.Path({!r})\n"
        code += "while not other.exists(): time.sleep(0.01)"
        mine, yours = str(tmp_path / "mine"), str(tmp_path / "yours")

        found = outcomes(
            tmp_path, [["a", code.format(mine, yours), 30], ["b", code.format(yours, mine), 30]], at_once=2
        )

        assert sorted(outcome[:2] for outcome in found) == [["a", "pass"], ["b", "pass"]]


def is_gone(process):
    """Return whether a process has ended, even if nobody has asked how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_wheels_are_there_before_anything_needs_one():
    code = "import check_gpu.__main__, sys; print({'numpy', 'pipeline'} & sys.modules.keys())"
    environment = os.environ | {"PYTHONPATH": "bench"}

    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True) == "set()\n"


@pytest.mark.xdist_group("check-gpu's environment")
def test_wheels_from_a_folder(tmp_path):
    pytest.importorskip("pip")
    write_wheel(tmp_path, "brought", "1.0")
    options = ["--device=cpu", "--only=layouts", "--seconds=1", f"--wheels={tmp_path}"]

    printed = check_gpu(*options, status=1, out=tmp_path / "out")

    assert "not run layouts" in printed
    code = "import brought, torch, numba; print(brought.__name__)"
    python = ROOT / ".cache" / "bench" / "check-gpu" / "bin" / "python"
    assert subprocess.check_output([python, "-c", code], text=True) == "brought\n"


def write_wheel(folder, name, version):
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


class TestAMachineWithAGPU:
    """Made up: there is a driver, and a PyTorch for it that fails when it is imported."""

    @pytest.fixture
    def python(self, tmp_path):
        """Return what comes after Python on its command line; this environment's libraries stay visible."""
        write_driver(tmp_path, CARDS[0])
        write_pytorch(tmp_path)
        return ("-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import check_gpu.command as c; c.main()")

    def test_an_engine_that_lacks_something_is_named(self, tmp_path, python, monkeypatch):
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
        monkeypatch.setenv("CC", "no-compiler")
        options = ("--only=trainings triton,tests of fused kernels", "--seconds=1")

        printed = check_gpu(*options, status=1, out=tmp_path / "out", code=python)

        assert "engines: torch; " in printed
        reason = "engine is triton, but "
        for part in ("trainings triton", "tests of fused kernels"):
            assert re.search(rf"^not run {part} +0\.0 s  {reason}", printed, re.MULTILINE)
        assert printed.count("FAIL: 0 pass, 0 fail, 2 not run") == 1
