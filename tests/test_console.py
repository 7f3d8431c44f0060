"""What runs do where their console goes away or takes only some characters, and what they print of themselves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.checkout import Checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return Checkout.new(tmp_path_factory.mktemp("console") / "checkout")


def shell(checkout, command, **environment):
    """Run a shell command, in which $PYTHON is this Python, in the checkout; return its status and what it prints."""
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout.folder,
        env=checkout.environment(PYTHON=sys.executable, ARCHIVE=str(checkout.archive), **environment),
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

    @pytest.mark.parametrize("command", ["status", "history", "status --json"])
    def test_ends_what_only_prints_quietly(self, checkout, command):
        piped = f'"$PYTHON" -m pipeline {command} --DownloadCIFAR-archive "$ARCHIVE"'

        assert shell(checkout, f"{piped} | true") == (0, "")
        assert shell(checkout, f"{piped} >/dev/full") == (0, "")
