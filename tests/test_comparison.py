from __future__ import annotations

import json
import re

import pytest

from pipeline import devices
from pipeline.comparison import Row, table
from tests.checkout import Checkout

# they share what one fixture trains, with Theano too
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("theano")]


def row(engine, seconds):
    return Row("cnn", engine, "cpu", seconds, (seconds, seconds), 0.56, [0.55, 0.57], 12.8 / seconds, 177 / seconds)


def test_table_compares_with_the_fastest_and_with_the_article():
    lines = table([row("numba", 2.0), row("torch", 8.0)]).splitlines()
    assert len(lines) == 4
    assert "| 4.0 | 1.6x | 22.1x | 0.5600 (0.5500 to 0.5700) |" in lines[3]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    checkout = Checkout.new(tmp_path_factory.mktemp("compare") / "checkout")
    checkout.run("--seeds", "1,2", task="Compare")
    return checkout


class TestCompare:
    def test_trains_on_every_engine_from_every_seed(self, checkout):
        rows = json.loads((checkout.result("Compare") / "comparison.json").read_text())["rows"]
        installed = [engine for engine, device in devices.usable() if device == "cpu" and engine != "theano"]
        assert [(found["network"], found["engine"]) for found in rows if found["device"] == "cpu"] == [
            (network, engine) for network in ("mlp", "cnn") for engine in installed
        ]
        assert all(len(found["accuracies"]) == 2 for found in rows)

    def test_prints_the_table_and_draws_the_curves(self, checkout):
        assert (checkout.result("Compare") / "comparison.md").read_text() in checkout.output
        assert (checkout.result("Compare") / "curves.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (checkout.result("Compare") / "curves.svg").read_text()

    def test_is_cached(self, checkout):
        assert set(checkout.run("--seeds", "1,2", task="Compare").values()) == {"reused"}

    def test_goes_into_the_next_report(self, checkout):
        assert checkout.run("--seed", "1")["Report"] == "computed"
        page = (checkout.folder / "outputs" / "report.html").read_text()
        rows = json.loads((checkout.result("Compare") / "comparison.json").read_text())["rows"]
        table = re.search(r'<table id="comparison">.*?</table>', page, re.DOTALL)[0]
        assert table.count("<tr>") == 1 + len(rows)
        for row in rows:
            assert f"{row['epoch_seconds']:.3f} (" in table

    def test_a_seed_must_be_a_number(self, checkout):
        checkout.run("--seeds", "1,x", task="Compare", status=40)
        assert "expected whole numbers, such as 1,2,3" in checkout.output
