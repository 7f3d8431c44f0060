"""`make clean`, with the real Makefile, in a folder where there is nothing else but what it is to clean."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.checkout import ROOT
from tests.clone import NOT_INHERITED

ARCHIVE = "DownloadCIFAR/0123456789abcdef/cifar-10-python.tar.gz"
MADE = {
    "data": [
        ARCHIVE,
        "DownloadCIFAR/.0123456789abcdef.part",
        "ConvertToHDF5/0123456789abcdef/images.h5",
        f"flowers/{ARCHIVE}",
        "flowers/ConvertToHDF5/0123456789abcdef/images.h5",
        ".runs/gate",
    ],
    "outputs": [
        "report.html",
        "latest/Report",
        "latest/DownloadCIFAR",
        ".scheduled.lock",
        "..hidden",
        "with blanks/file",
    ],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tasks" / "configuration").mkdir(parents=True)
    for name in ("Makefile", "tasks/configuration/make_variables.txt"):  # which the Makefile reads
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def fill(folder, name):
    for file in MADE[name]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def clean(folder):
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    done = subprocess.run(["make", "clean"], cwd=folder, env=inherited, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


KEPT = sorted(file for file in MADE["data"] if "DownloadCIFAR" in file)


def test_removes_all_but_the_archive(folder):
    for name in MADE:
        fill(folder / name, name)

    clean(folder)

    assert files(folder / "data") == KEPT
    assert files(folder / "outputs") == []


def test_cleans_what_links_lead_to_and_keeps_the_links(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("large disk")
    for name in MADE:
        fill(elsewhere / name, name)
        (folder / name).symlink_to(elsewhere / name)

    clean(folder)

    assert files(elsewhere / "data") == KEPT
    assert files(elsewhere / "outputs") == []
    assert all((folder / name).readlink() == elsewhere / name for name in MADE)


def test_has_nothing_to_do_where_there_is_nothing(folder):
    clean(folder)

    assert files(folder) == ["Makefile", "tasks/configuration/make_variables.txt"]
