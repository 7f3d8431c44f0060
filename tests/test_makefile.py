"""What a person types, typed in a fresh clone that sets up an environment of its own."""

from __future__ import annotations

import json
import re

import pytest

from tests.checkout import ROOT, STAGES

QUICK = "--TrainMLP-epochs 1 --TrainCNN-epochs 1"

pytestmark = pytest.mark.xdist_group("makefile")  # they share what one fixture sets up


def test_plain_make_prints_the_help(clone):
    printed = clone.shell("make")
    assert "Usage: make TARGET" in printed
    assert printed == clone.shell("make help")
    for target in re.findall(r"^    make ([a-z-]+)", (ROOT / "README.md").read_text(), re.M):
        assert f"  {target} " in printed


def test_clean_has_nothing_to_do_in_a_fresh_clone(clone):
    clone.shell("make clean")


def test_demo_runs_on_digits_and_says_so(clone):
    printed = clone.shell("make demo")
    for network in ("MLP", "CNN"):
        metrics = json.loads((clone.folder / f"outputs/demo/latest/Evaluate{network}/metrics.json").read_text())
        assert metrics["accuracy"] > 0.8
        assert metrics["data"]["title"] == "scikit-learn's digits"
        assert f"{metrics['accuracy']:.2f} (on scikit-learn's digits, not CIFAR-10)" in printed
    assert (
        "<h1>scikit-learn&#x27;s digits, in grayscale</h1>" in (clone.folder / "outputs/demo/report.html").read_text()
    )
    assert not (clone.folder / "outputs/latest").exists()


def test_pipeline_takes_an_archive_from_disk(clone):
    printed = clone.shell(f"make pipeline ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    assert "The accuracy of this network is: " in printed
    assert f"{len(STAGES)} computed" in printed
    metrics = json.loads((clone.folder / "outputs/latest/EvaluateCNN/metrics.json").read_text())
    assert metrics["images"] == 40


def test_pipeline_uses_what_is_there_with_two_workers_too(clone):
    clone.shell(f"make pipeline ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    assert f"{len(STAGES)} reused" in clone.shell(f"make pipeline ARCHIVE=mine.tar.gz WORKERS=2 ARGS='{QUICK}'")


def test_luigi_as_the_readme_types_it(clone):
    config = (clone.folder / "luigi.cfg").read_text()
    changed = config.replace("\narchive =\n", "\narchive = mine.tar.gz\n").replace("\nepochs =\n", "\nepochs = 1\n")
    (clone.folder / "luigi.cfg").write_text(changed)
    clone.shell(". .venv/bin/activate && luigi --module tasks EvaluateCNN")
    for network in ("mlp2", "mlp_fitted", "cnn_printed"):
        clone.shell(f". .venv/bin/activate && luigi --module tasks Evaluate --network {network}")
        assert (clone.folder / f"outputs/latest/Evaluate{network.upper()}/metrics.json").exists()
    (clone.folder / "luigi.cfg").write_text(config)


def test_a_failure_has_a_message_and_an_exit_status(clone):
    assert "there is no archive at nowhere.tar.gz" in clone.shell("make pipeline ARCHIVE=nowhere.tar.gz", status=2)
    (clone.folder / "broken.tar.gz").write_bytes(b"<html>503</html>")
    printed = clone.shell("make pipeline ARCHIVE=broken.tar.gz", status=2)
    assert "a web page" in printed
    assert "Traceback" not in printed


def test_schedule_hands_its_calendar_to_no_shell(clone):
    printed = clone.shell("""make schedule EVERY="daily'; touch pwned #" DRY=1 ARCHIVE=mine.tar.gz""", status=2)
    assert """EVERY is "daily'; touch pwned #"; expected daily""" in printed
    assert not (clone.folder / "pwned").exists()
    assert "EVERY is ''" in clone.shell("make schedule DRY=1 ARCHIVE=mine.tar.gz", status=2)
    assert "Nothing is scheduled" in clone.shell("make unschedule DRY=1")


def test_check_device_tells_where_exp_is_computed(clone):
    assert "Used the cpu" in clone.shell("make check-device DEVICE=cpu")
    assert "device is cuda, but" in clone.shell(
        ". .venv/bin/activate && CUDA_VISIBLE_DEVICES= luigi --module tasks CheckDevice --device cuda", status=40
    )


def test_status_verify_gc_and_history(clone):
    clone.shell(f"make pipeline ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    assert "TrainCNN" in clone.shell("make status ARCHIVE=mine.tar.gz")
    assert "as it was made" in clone.shell("make verify")
    assert "would be removed" in clone.shell("make gc DRY=1 KEEP=0")
    assert "EvaluateCNN" in clone.shell("make history")


def test_clean_keeps_the_archive(clone):
    clone.shell(f"make pipeline ARCHIVE=mine.tar.gz ARGS='{QUICK}'")
    clone.shell("make clean")
    assert list(clone.folder.glob("data/DownloadCIFAR/*/cifar-10-python.tar.gz"))
    assert not (clone.folder / "outputs/latest").exists()
