"""What a stage says where the machine fails it; test_faults.py has disks that are really full."""

from __future__ import annotations

import pytest

from pipeline.errors import StoreError
from pipeline.store import failures
from tests.small_stages import chain


@pytest.mark.state("new")
def test_a_limit_on_files_is_not_blamed_on_a_disk_with_room(checkout):
    command = checkout.command("GrayscaleFlat", "--DownloadCIFAR-archive", str(checkout.archive))

    done = checkout.call("bash", "-c", 'ulimit -f 800 && exec "$@"', "bash", *command)  # kilobytes

    assert done.returncode == 30
    assert "GrayscaleFlat: File too large, but " in done.stderr
    assert "a limit on files (ulimit -f)" in done.stderr
    assert "make gc" not in done.stderr


def test_memory_that_was_short_behind_another_error_is_named(tmp_path):
    (stage,) = chain(tmp_path, "First")

    def load():
        try:
            raise OSError("libllvmlite.so: failed to map segment from shared object")
        except OSError:
            raise OSError("Could not find/load shared object file 'libllvmlite.so'")  # noqa: B904, as llvmlite does

    with (
        pytest.raises(StoreError, match=r"First: out of memory \(libllvmlite.so: failed to map segment"),
        failures.explained(stage),
    ):
        load()
