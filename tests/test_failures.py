"""What a stage says where the machine fails it; test_faults.py has disks that are really full."""

from __future__ import annotations

import pytest


@pytest.mark.state("new")
def test_a_limit_on_files_is_not_blamed_on_a_disk_with_room(checkout):
    command = checkout.command("GrayscaleFlat", "--DownloadCIFAR-archive", str(checkout.archive))

    done = checkout.call("bash", "-c", 'ulimit -f 800 && exec "$@"', "bash", *command)  # kilobytes

    assert done.returncode == 30
    assert "GrayscaleFlat: File too large, but " in done.stderr
    assert "a limit on files (ulimit -f)" in done.stderr
    assert "make gc" not in done.stderr
