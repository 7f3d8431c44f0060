from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest

from pipeline.data.dataset import CIFAR_TITLE
from pipeline.engines import devices
from pipeline.report.comparison import Row, markdown_table, read_comparison
from pipeline.report.markup import duration


def row(engine, seconds):
    return Row("cnn", engine, "cpu", seconds, (seconds, seconds), 50, 50 * seconds, 0.56, [0.55, 0.57])


class TestTable:
    ROWS = (row("numba", 2.0), row("torch", 8.0))

    def test_compares_with_the_fastest_and_with_the_article(self):
        head, _, _, torch, gpu, cpu = markdown_table(self.ROWS, CIFAR_TITLE).splitlines()
        assert "| Times as fast as the article's GPU | As its 32 cores |" in head
        assert torch.startswith("| CNN | torch | cpu | 8.000 (8.000 to 8.000) | 6.7 min (50) | 4.0 |")
        assert torch.endswith("| 0.5600 (0.5500 to 0.5700) | 1.6x | 22.2x |")
        assert gpu == "| CNN | the article's | GPU | 12.5 | 10.4 min (50) | 6.2 | 0.61 (its text) | 1.0x | 14.2x |"
        assert (
            cpu == "| CNN | the article's | 32 cores | 177.3 | 2 h 27 min (50) | 88.7 | 0.61 (its text) | 0.1x | 1.0x |"
        )

    def test_other_data_is_not_compared_with_the_article(self):
        text = markdown_table(self.ROWS, "digits")
        assert len(text.splitlines()) == 4
        assert "article" not in text

    @pytest.mark.parametrize(
        ("seconds", "written"),
        [
            (7.234, "7.23 s"),
            (59.96, "60 s"),
            (119.9, "120 s"),
            (120, "2.0 min"),
            (3599, "60.0 min"),
            (7260, "2 h 1 min"),
        ],
    )
    def test_durations(self, seconds, written):
        assert duration(seconds) == written


class TestRead:
    def test_gives_the_rows_that_were_written(self, tmp_path):
        document = {"data": {"title": CIFAR_TITLE}, "rows": [asdict(row("numba", 2.0))]}
        (tmp_path / "comparison.json").write_text(json.dumps(document))
        data, rows = read_comparison(tmp_path / "comparison.json")
        assert data == document["data"]
        assert markdown_table(rows, "digits") == markdown_table([row("numba", 2.0)], "digits")

    def test_gives_nothing_of_a_file_with_other_figures(self, tmp_path):
        """As the one that an earlier version has left in the outputs folder, which no report may fail on."""
        old = asdict(row("numba", 2.0)) | {"speedup_gpu": 6.4}
        (tmp_path / "comparison.json").write_text(json.dumps({"data": {}, "rows": [old]}))
        assert read_comparison(tmp_path / "comparison.json") is None


@pytest.fixture(scope="module")
def checkout(states, tmp_path_factory):
    checkout = states.copy("new", tmp_path_factory.mktemp("compare") / "checkout")
    checkout.run("--seeds", "1,2", task="Compare")
    return checkout


# they share what one fixture trains, with Theano too
@pytest.mark.slow
@pytest.mark.xdist_group("theano")
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
        articles_runs = 4
        assert table.count("<tr>") == 1 + len(rows) + articles_runs
        for row in rows:
            assert f"{row['epoch_seconds']:.3f} (" in table

    def test_a_seed_must_be_a_number(self, checkout):
        checkout.run("--seeds", "1,x", task="Compare", status=40)
        assert "expected whole numbers, such as 1,2,3" in checkout.output
