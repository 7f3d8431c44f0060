"""What runs do where their console goes away or takes only some characters, and what they print of themselves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.checkout import QUICK, STAGES


@pytest.fixture(scope="module")
def checkout(states, tmp_path_factory):
    return states.copy("new", tmp_path_factory.mktemp("console") / "checkout")


def shell(checkout, command, **environment):
    """Run a shell command, in which $PYTHON is this Python, in the checkout; return its status and what it prints."""
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout.folder,
        env=checkout.environment(**{"PYTHON": sys.executable, "ARCHIVE": str(checkout.archive)} | environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return run.returncode, os.fsdecode(run.stdout)


RUN = '"$PYTHON" -m tasks GrayscaleFlat --DownloadCIFAR-archive "$ARCHIVE" --force GrayscaleFlat'


class TestAConsoleThatGoesAway:
    @pytest.mark.parametrize("workers", ["1", "2"])
    @pytest.mark.parametrize(
        "command",
        [
            f'{RUN} $MORE | true; exit "${{PIPESTATUS[0]}}"',
            f"{RUN} $MORE >&-",
            f"{RUN} $MORE >&- 2>&-",
            f"{RUN} $MORE >/dev/full",
        ],
    )
    def test_fails_no_stage(self, checkout, command, workers):
        assert shell(checkout, command, MORE=f"--workers {workers}") == (0, "")
        assert checkout.history()[-1]["stages"]["GrayscaleFlat"] == "computed"

    def test_hides_no_failure(self, checkout):
        luigi = '"$PYTHON" -c "from luigi.cmdline import luigi_run; luigi_run()" --module tasks'
        failing = f"{luigi} DownloadCIFAR --DownloadCIFAR-sources file:///nowhere --outputs-dir elsewhere"

        assert shell(checkout, f"{failing} >/dev/full 2>/dev/full") == (30, "")

    ONLY_PRINTS = pytest.mark.parametrize(
        "command",
        ["status", "status --json", "history", "history --json", "verify", "gc --dry-run", "unschedule --dry-run"],
    )

    @ONLY_PRINTS
    def test_ends_what_only_prints_quietly(self, checkout, command):
        piped = f'"$PYTHON" -m pipeline {command} --DownloadCIFAR-archive "$ARCHIVE"'

        assert shell(checkout, f'{piped} | true; exit "${{PIPESTATUS[0]}}"') == (0, "")

    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @ONLY_PRINTS
    def test_fails_what_only_prints_where_it_is_a_full_disk(self, checkout, command, unbuffered):
        full = f'"$PYTHON" -m pipeline {command} --DownloadCIFAR-archive "$ARCHIVE" >/dev/full'

        status, printed = shell(checkout, full, PYTHONUNBUFFERED=unbuffered)

        assert status == 1
        assert printed.startswith("standard output: No space left on device. Make room, ")
        assert printed.count("\n") == 1


class TestWhatIsNoText:
    """Bytes that are no UTF-8, or none in the locale, in arguments and paths: Python has them as surrogates."""

    @pytest.mark.parametrize(
        ("name", "environment", "written"),
        [
            ("caf\udcff", {}, r"caf\xff"),
            ("café", {"LC_ALL": "C", "PYTHONUTF8": "0"}, "café"),
        ],
    )
    def test_is_written_into_the_report(self, checkout, name, environment, written):
        flags = f"{' '.join(QUICK)} --data-dir data-{name} --outputs-dir outputs-{name}"
        command = f'"$PYTHON" -m tasks Pipeline --DownloadCIFAR-archive "$ARCHIVE" {flags}'

        status, printed = shell(checkout, command, **environment)

        assert status == 0, printed
        page = (checkout.folder / f"outputs-{name}" / "report.html").read_text(encoding="utf-8")
        assert "luigi --module tasks Pipeline --DownloadCIFAR-archive" in page
        assert f"outputs-{written}" in page

    def test_is_written_into_the_metrics_of_a_scheduled_run(self, checkout):
        failing = '"$PYTHON" -m tasks.scheduled --TrainMLP-epochs 0 --outputs-dir outputs-\udcff'

        status, printed = shell(checkout, failing)

        assert status == 40
        assert "TrainMLP.epochs is 0" in printed
        figures = (checkout.folder / "outputs-\udcff" / "metrics.prom").read_text(encoding="utf-8")
        assert r"outputs-\\xff" in figures

    @pytest.mark.parametrize(("title", "shown"), [(r"\xff\xfe", r"\udcff\udcfe"), (r"a\nb", r"a\nb"), (r"\a", r"\x07")])
    def test_is_no_title(self, checkout, title, shown):
        status, printed = shell(checkout, f"{RUN} --ConvertToHDF5-title $'{title}'")

        assert status == 40
        assert printed == f"ERROR: ConvertToHDF5.title is '{shown}'; expected a line of printable UTF-8.\n"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Return a folder with links to all installed packages but PyTorch."""
    folder = tmp_path_factory.mktemp("packages")
    for path in {path for name in ("purelib", "platlib") for path in Path(sysconfig.get_path(name)).iterdir()}:
        if not path.name.startswith("torch"):
            (folder / path.name).symlink_to(path)
    return folder


class TestWithoutPyTorch:
    @pytest.mark.parametrize(
        ("command", "expected"),
        [
            ("tasks EvaluateCNN --engine torch", 40),
            ("tasks EvaluateCNN --engine torch --device cuda", 40),
            ("tasks Pipeline --TrainCNN-on-engine torch", 40),
            ("pipeline predict --engine torch picture.png", 1),
        ],
    )
    def test_its_engine_is_refused_before_a_run_begins(self, checkout, packages, command, expected):
        path = f"{checkout.folder}{os.pathsep}{packages}"
        archive = '--DownloadCIFAR-archive "$ARCHIVE" --data-dir never'
        status, printed = shell(checkout, f'"$PYTHON" -S -m {command} {archive}', PYTHONPATH=path)

        assert status == expected, printed
        assert "engine is torch, but PyTorch is not installed; `make pipeline ENGINE=torch` installs it" in printed
        assert "`python -m pipeline.engines.torch.setup`" in printed
        assert printed.count("\n") == 1
        assert not (checkout.folder / "never").exists()


class TestAnArchiveThatMayNotBeRead:
    WITHOUT_PRIVILEGES = "setpriv --bounding-set=-dac_override,-dac_read_search" if os.geteuid() == 0 else ""

    @pytest.fixture
    def archive(self, checkout, tmp_path):
        copy = tmp_path / "folder" / "cifar.tar.gz"
        copy.parent.mkdir()
        copy.write_bytes(checkout.archive.read_bytes())
        return copy

    def refused(self, checkout, archive):
        if self.WITHOUT_PRIVILEGES and not shutil.which("setpriv"):
            pytest.skip("root reads any file, where setpriv does not take that away")
        command = f"{self.WITHOUT_PRIVILEGES} {RUN} --data-dir never"
        status, printed = shell(checkout, command, ARCHIVE=str(archive))
        assert status == 40, printed
        assert printed.count("\n") == 1
        assert "writable" not in printed
        return printed

    def test_is_named_and_so_is_who_may(self, checkout, archive):
        archive.chmod(0o200)

        printed = self.refused(checkout, archive)

        assert printed.startswith(
            f"ERROR: {archive}: Permission denied. You may not read {archive} (--w-------, of {archive.owner()}). "
            f"Type `chmod +r {archive}`, or name another archive, ARCHIVE=path, or other folders, --outputs-dir"
        )

    def test_may_be_in_a_folder_that_is_shut(self, checkout, archive):
        archive.parent.chmod(0)

        try:
            printed = self.refused(checkout, archive)
        finally:
            archive.parent.chmod(0o700)

        assert f"You may not read {archive.parent} (d---------, of {archive.owner()}). Type `chmod +rx " in printed


class TestWhatARunSays:
    def printed(self, checkout, *flags):
        folders = ("--outputs-dir", "outputs-said", "--data-dir", "data-said")
        done = checkout.python("-m", "tasks", "Pipeline", *checkout.flags(), *folders, *flags, merged=True)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def test_of_its_stages_is_which_of_how_many_they_are(self, checkout):
        printed = self.printed(checkout, "--seed", "1")

        told = re.findall(r"^(\w+) \(stage (\d+) of 11\): computed, \d+\.\d s$", printed, re.MULTILINE)
        assert told == [(stage, str(number)) for number, stage in enumerate(STAGES, start=1)]

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_of_its_device_is_told_once_and_before_anything_is_computed(self, checkout, workers):
        flags = ("--device", "auto", "--workers", workers, "--seed", f"1{workers}")
        lines = self.printed(checkout, *flags).splitlines()
        first, *others = (line for line in lines if not line.startswith("The last run had "))

        chosen = re.fullmatch(r"(numba on cpu); (no CUDA: \S.*)", first)
        assert [line for line in others if chosen[2] in line] == []
        assert sum(line.endswith(f" parameters; {chosen[1]}") for line in others) == 2
        assert chosen[2] not in self.printed(checkout, *flags)

    def test_of_its_device_is_nothing_where_that_was_asked_for(self, checkout):
        assert not re.search("CUDA|asked for", self.printed(checkout, "--force", "TrainMLP"))


def test_ctrl_c_while_modules_load_leaves_no_traceback(checkout, tmp_path):
    (tmp_path / "luigi.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks", "Pipeline"],
        cwd=checkout.folder,
        env=checkout.environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{checkout.folder}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=30)[0]

    assert process.returncode == -signal.SIGINT  # a shell says 130
    assert printed.startswith("\nInterrupted. ")
    assert printed.count("\n") == 2
