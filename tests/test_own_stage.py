"""Add the stage of docs/how-to/own-stage.md, as that page does."""

from __future__ import annotations

import csv
import re

import pytest

from tests.checkout import STAGES
from tests.pages import Page

PAGE = Page("docs/how-to/own-stage.md")


def follow(checkout):
    """Do each step: add two files, name the stage in the list, add its setting."""
    function, task, named = PAGE.blocks("python")
    for path, text in zip(re.findall(r"Add\s`(\S+\.py)`:", PAGE.text), (function, task), strict=True):
        (checkout.folder / path).write_text(text)
    imported, listed = named.strip().split("\n\n")
    before = listed.replace(", Histogram)", ",)")
    checkout.edit("tasks/whole.py", before, listed)
    checkout.edit("tasks/whole.py", "from tasks.learning", f"{imported}\nfrom tasks.learning")
    [setting] = PAGE.blocks("ini")
    with (checkout.folder / "luigi.cfg").open("a") as file:
        file.write(f"\n{setting}")


@pytest.fixture
def extended(checkout):
    follow(checkout)
    return checkout


def counts(checkout):
    with (checkout.result("Histogram") / "histogram.csv").open(newline="") as file:
        return [int(row[1]) for row in csv.reader(file)]


def test_the_stage_belongs_to_the_pipeline(extended):
    rows = extended.status()
    assert rows.keys() == {*STAGES, "Histogram"}
    assert rows["Histogram"]["why"] == ["never run"]
    assert extended.run() == {**dict.fromkeys(STAGES, "reused"), "Histogram": "computed"}
    assert len(counts(extended)) == 16
    assert sum(counts(extended)) == 5 * 40 * 32 * 32
    assert extended.status()["Histogram"]["state"] == "cached"
    assert extended.run() == dict.fromkeys([*STAGES, "Histogram"], "reused")


def test_its_result_is_no_garbage(extended):
    extended.run()
    (extended.folder / "outputs" / "latest" / "Histogram").unlink()
    extended.pipeline("gc", "--keep-days", "0", "--dry-run", *extended.flags())
    assert "Histogram" not in extended.pipeline("gc", "--keep-days", "0", "--dry-run", *extended.flags())


def test_it_can_be_forced(extended):
    extended.run()
    assert extended.run("--force", "Histogram")["Histogram"] == "computed"


def test_it_runs_alone_with_its_setting(extended):
    outcomes = extended.run("--bins", "32", task="Histogram")
    assert outcomes == {
        "DownloadCIFAR": "reused",
        "ConvertToHDF5": "reused",
        "Grayscale2D": "reused",
        "Histogram": "computed",
    }
    assert len(counts(extended)) == 32


@pytest.mark.parametrize("task", ["Histogram", "EvaluateCNN"])
def test_its_setting_is_checked_whatever_runs(extended, task):
    extended.run("--Histogram-bins", "1", task=task, status=40)
    assert "Histogram.bins is 1; expected a whole number from 2 to 256." in extended.output
