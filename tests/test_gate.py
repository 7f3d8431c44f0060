"""The gate before the report, kept by the real luigi on networks that were really trained."""

from __future__ import annotations

import json
import sys

import pytest

from tests.checkout import STAGES
from tests.states import worse_than_reported

REPORT_OF_ANOTHER_RUN = """
import sys
from pathlib import Path

from luigi.cmdline_parser import CmdlineParser

from tasks.whole import Report

link, hidden = Path("outputs/latest/Report"), Path("outputs/latest/hidden")
link.rename(hidden)
with CmdlineParser.global_instance(sys.argv[1:]):
    report = Report()
    before = report.may_be_published()
    hidden.rename(link)
    print(before, report.may_be_published())
"""


class TestMinimum:
    def test_lets_pass_what_reaches_it(self, checkout):
        outcomes = checkout.run("--gate-minimum-accuracy-cnn", str(checkout.accuracy()))
        assert outcomes == dict.fromkeys(STAGES, "reused")

    def test_fails_the_run_with_the_figures_each_time_and_computes_nothing_again(self, checkout):
        report = checkout.result("Report")
        for _ in range(2):
            outcomes = checkout.run("--gate-minimum-accuracy-cnn", "0.99", status=30)
            found = f"EvaluateCNN: test accuracy {checkout.accuracy('CNN'):.4f}; expected at least 0.99."
            assert found in checkout.output
            assert "Traceback" not in checkout.output
            assert "report.html" not in checkout.output
            assert set(outcomes.values()) == {"reused"}
            assert checkout.history()[-1]["exit"] == "failed"
        assert checkout.result("Report") == report

    def test_keeps_the_previous_report_where_there_would_be_a_new_one(self, checkout):
        report = checkout.result("Report")
        outcomes = checkout.run("--seed", "7", "--gate-minimum-accuracy-mlp", "0.99", status=30)
        assert outcomes["EvaluateMLP"] == "computed"
        assert outcomes["Report"] == "not made"
        assert checkout.result("Report") == report
        checkout.run("--seed", "7")
        assert checkout.result("Report") != report

    @pytest.mark.state("two seeds")
    def test_holds_for_a_report_that_was_written_before_it_was_set(self, checkout):
        second = checkout.result("Report")
        checkout.run()
        first = checkout.result("Report")
        assert first != second
        checkout.run("--seed", "7", "--gate-minimum-accuracy-cnn", "0.99", status=30)
        assert checkout.result("Report") == first

    def test_holds_with_two_workers_too(self, checkout):
        checkout.run("--workers", "2", "--gate-minimum-accuracy-cnn", "0.99", status=30)
        assert "expected at least 0.99" in checkout.output


class TestLargestDrop:
    @pytest.mark.state("better rate reported")
    def test_fails_a_run_that_is_worse_than_the_latest_report(self, checkout):
        flags, drop = json.loads((checkout.folder / "worse.json").read_text()).values()
        report = checkout.result("Report")
        for _ in range(2):
            checkout.run(*flags, "--gate-largest-drop", str(drop / 2), status=30)
            assert f"EvaluateCNN: test accuracy {checkout.accuracy():.4f}, {drop:.4f} below" in checkout.output
            assert checkout.result("Report") == report
        checkout.run(*flags, "--gate-largest-drop", str(drop * 1.01))
        assert checkout.result("Report") != report

    @pytest.mark.state("better rate reported")
    def test_fails_the_run_in_the_history_too_where_a_flag_names_the_folder(self, checkout):
        flags, drop = json.loads((checkout.folder / "worse.json").read_text()).values()
        link = checkout.folder / "outputs" / "latest" / "Report"
        better = link.readlink()
        checkout.run(*flags)
        assert link.readlink() != better
        link.unlink()
        link.symlink_to(better)
        (checkout.folder / "outputs").rename(checkout.folder / "elsewhere")

        elsewhere = ("--outputs-dir", "elsewhere")
        process = checkout.start(*flags, *elsewhere, "--gate-largest-drop", str(drop / 2))
        printed = process.communicate()[0]

        assert process.returncode == 30
        assert "report.html" not in printed
        assert json.loads(checkout.pipeline("history", "--json", *elsewhere))[-1]["exit"] == "failed"

    @pytest.mark.state("better rate reported")
    def test_counts_from_a_report_that_another_run_published_meanwhile(self, checkout):
        flags, drop = json.loads((checkout.folder / "worse.json").read_text()).values()
        arguments = ["Pipeline", *checkout.flags(), *flags, "--gate-largest-drop", str(drop / 2)]
        printed = checkout.call(sys.executable, "-c", REPORT_OF_ANOTHER_RUN, *arguments).stdout
        assert printed == "True False\n"

    def test_counts_for_every_network_of_the_report(self, checkout):
        also = ("--Report-networks", "mlp,mlp2", "--Train-epochs", "1", "--Evaluate-network", "mlp2")
        flags, drop = worse_than_reported(checkout, "MLP2", "Evaluate", "Train", also)
        checkout.run(*flags, "--gate-largest-drop", str(drop / 2), status=30)
        assert f"EvaluateMLP2: test accuracy {checkout.accuracy('MLP2'):.4f}, {drop:.4f} below" in checkout.output

    @pytest.mark.state("new")
    def test_has_nothing_to_say_of_a_first_run(self, checkout):
        outcomes = checkout.run("--gate-largest-drop", "0")
        assert outcomes["Report"] == "computed"
        checkout.run("--gate-largest-drop", "0")


@pytest.mark.parametrize(
    "flags", [("--gate-largest-drop", "nan"), ("--gate-minimum-accuracy-cnn", "56"), ("--gate-largest-drop", "-0.1")]
)
def test_a_limit_that_no_accuracy_can_have_is_refused(checkout, flags):
    checkout.run(*flags, status=40)
    assert f"is {float(flags[1])}; expected a number from 0 to 1" in checkout.output
