"""What befalls a run that nobody watches, each fault for real: what it says, and that the next run puts it right."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import killing
from tests.available import require
from tests.checkout import ROOT, STAGES, Checkout

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "0"))
"""How many kills; where it is set, Theano is among the engines. `make faults` sets it."""
DATA = ("DownloadCIFAR", "ConvertToHDF5", "GrayscaleFlat", "Grayscale2D")
LONG = ("--TrainMLP-epochs", "300", "--TrainMLP-learning-rate", "0.001")
AGAIN = "run the same command again"


@contextlib.contextmanager
def mounted(folder, *options):
    """Put a file system at a folder, or skip the test where that is not allowed."""
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting needs root: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def failed(checkout, *flags, task="Pipeline", status=30):
    """Run what must fail, and return what it printed: never where in the code it failed."""
    printed = checkout.start(*flags, task=task)
    output = printed.communicate(timeout=120)[0]
    assert printed.returncode == status, output
    assert "Traceback" not in output
    return output


def assert_put_right(checkout, undisturbed, *flags):
    """Run once more, plainly: the bytes must be those of an undisturbed run, and nothing else may be left."""
    checkout.run(*flags)
    assert checkout.files() == undisturbed.files()
    assert checkout.leftovers() == []
    assert killing.at_work(checkout.folder) == []


class TestKills:
    EPOCHS = ("--TrainMLP-epochs", "40", "--TrainCNN-epochs", "4")

    def test_at_any_moment_lose_nothing(self, tmp_path):
        pytest.importorskip("torch")
        engines = {"torch": 8.0, "theano": 20.0} if KILLS else {"torch": 5.0}  # a little longer than a run takes
        moments = random.Random(KILLS)
        undisturbed = {engine: self.undisturbed(engine, tmp_path / engine) for engine in engines}
        checkout = self.checkout(engines, tmp_path / "killed")
        for number in range(KILLS or 4):
            engine = list(engines)[number % len(engines)]
            flags = ("--engine", engine, "--workers", moments.choice("12"), *self.EPOCHS)
            kind = moments.choice([kind for kind in killing.KINDS if engine == "theano" or kind != "theano"])
            printed = killing.kill(checkout, *flags, kind=kind, within=engines[engine], moments=moments)
            assert "Traceback" not in printed
            if all(row["state"] == "cached" for row in checkout.status(*flags).values()):
                shutil.rmtree(checkout.folder / "outputs")

        for engine in engines:
            assert_put_right(checkout, undisturbed[engine], "--engine", engine, *self.EPOCHS)

    def undisturbed(self, engine, folder):
        checkout = self.checkout([engine], folder)
        checkout.run("--engine", engine, *self.EPOCHS)
        return checkout

    def checkout(self, engines, folder):
        checkout = Checkout.new(folder)
        if "theano" in engines:
            require("theano")
            (folder / ".venv-theano").symlink_to((ROOT / ".venv-theano").resolve())
            shutil.copytree(ROOT / "requirements", folder / "requirements")
        return checkout


@contextlib.contextmanager
def small_disk(checkout, folder, room):
    """Bring one of the folders of results to a disk of its own with so many kilobytes left."""
    place = checkout.folder / folder
    there = place.rename(checkout.folder / "there")
    place.mkdir()
    with mounted(place, "-t", "tmpfs", "-o", "size=64m", "none"):
        shutil.copytree(there, place, symlinks=True, dirs_exist_ok=True)
        set_room(place, room)
        yield place


def set_room(place, kilobytes):
    status = os.statvfs(place)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    remount(place, f"size={used // 1024 + kilobytes}k")


def forget(checkout, *stages):
    for stage in stages:
        for path in (*checkout.folder.glob(f"*/{stage}"), *checkout.folder.glob(f"outputs/checkpoints/{stage}-*")):
            shutil.rmtree(path)


def wait_for_row(process, number):
    """Read what a training prints until it shows the row of an epoch, for a minute at most."""
    lines = []
    watch = threading.Timer(60, process.kill)
    watch.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if re.match(rf"(\w+ \| )? *{number} +\d", line):
                return
    finally:
        watch.cancel()
    pytest.fail("".join(lines))


class TestFullDisk:
    @pytest.mark.parametrize("stage", STAGES)
    def test_is_told_before_a_stage_computes(self, checkout, trained, stage):
        forget(checkout, stage)
        with small_disk(checkout, "data" if stage in DATA else "outputs", room=48) as place:
            told = failed(checkout, task=stage)
            assert re.search(rf"{stage}\b.*needs (up to )?[\d,]+ .*finds [\d,]+ ", told)
            assert checkout.leftovers() == []
            remount(place, "size=64m")
            assert_put_right(checkout, trained)

    def test_is_told_where_others_fill_it_meanwhile(self, checkout):
        with small_disk(checkout, "outputs", room=20_000) as place:
            process = checkout.start(*LONG, task="TrainMLP")
            wait_for_row(process, 20)
            set_room(place, 0)
            told = process.communicate(timeout=60)[0]
            assert process.returncode == 30
            assert re.search(r"TrainMLP: the disk is full \(No space left on device\): .* needs up to .* finds ", told)
            assert "Traceback" not in told
            set_room(place, 0)
            assert "outputs/.runs/" in failed(checkout, *LONG, task="TrainMLP", status=1)
            assert "removed" in checkout.pipeline("gc", "--keep-days", "0", "--yes", *checkout.flags())
            remount(place, "size=64m")
            checkout.run(*LONG, task="TrainMLP")
            assert checkout.leftovers() == []


@dataclass
class Damage:
    """What is done to a file of a stage, whether a run sees it by itself, and what `make verify` says."""

    stage: str
    name: str
    spoil: Callable[[bytes], bytes]
    seen: bool
    told: str


def cut(content):
    return content[: len(content) // 2]


def flipped(part):
    """Flip a bit at some part of a file, 0 being its beginning and 1 its end."""

    def spoil(content):
        place = int(part * (len(content) - 1))
        return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]

    return spoil


DAMAGES = {
    "colour images cut off": Damage("ConvertToHDF5", "images.h5", cut, True, r"has \d+ bytes, not \d+"),
    "a bit of the images": Damage("GrayscaleFlat", "grayscale.h5", flipped(0.5), False, "has other content"),
    "a bit of HDF5's own": Damage("Grayscale2D", "grayscale.h5", flipped(0), False, "has other content"),
    "weights cut off": Damage("TrainCNN", "weights.h5", cut, True, r"has \d+ bytes, not \d+"),
    "a bit of the weights": Damage("TrainMLP", "weights.h5", flipped(0.9), False, "has other content"),
    "a record cut off": Damage("EvaluateMLP", "stage.json", cut, True, "has other content"),
    "a bit of a record": Damage("EvaluateCNN", "stage.json", flipped(0.5), True, "has other content"),
    "an empty archive": Damage("DownloadCIFAR", "cifar-10-python.tar.gz", lambda _: b"", True, "has 0 bytes, not"),
}


class TestDamage:
    def test_is_seen_and_made_good(self, checkout, trained):
        """All of them at once: each is told by name."""
        for damage in DAMAGES.values():
            path = checkout.result(damage.stage) / damage.name
            path.write_bytes(damage.spoil(path.read_bytes()))
        states = {stage: row["state"] for stage, row in checkout.status().items()}
        told = checkout.pipeline("verify", status=1)

        for what, damage in DAMAGES.items():
            assert re.search(rf"/{damage.stage}/\w+: {damage.name} {damage.told}", told), what
            assert states[damage.stage] == "to run" or not damage.seen, what
        assert "Traceback" not in told
        assert_put_right(checkout, trained)
        assert "as it was made" in checkout.pipeline("verify")

    @pytest.mark.parametrize(
        ("stage", "name", "reader"),
        [("GrayscaleFlat", "grayscale.h5", "TrainMLP"), ("TrainMLP", "weights.h5", "EvaluateMLP")],
    )
    def test_that_no_size_shows_is_made_good_before_a_stage_reads_it(self, checkout, trained, stage, name, reader):
        forget(checkout, reader)
        path = checkout.result(stage) / name
        path.write_bytes(flipped(0)(path.read_bytes()))
        outcomes = checkout.run(task=reader)
        assert {stage for stage, outcome in outcomes.items() if outcome == "computed"} == {stage, reader}
        assert re.search(rf"{reader}: .*/{stage}/\w+ is made again: {name} has other content", checkout.output)
        assert_put_right(checkout, trained)

    def test_to_any_bit_of_a_record_or_the_history_is_no_error(self, checkout):
        moments = random.Random(0)
        for path in (checkout.result("EvaluateMLP") / "stage.json", checkout.folder / "outputs" / "history.jsonl"):
            sound = path.read_bytes()
            for _ in range(4):
                path.write_bytes(flipped(moments.random())(sound))
                assert checkout.status()["EvaluateMLP"]["why"] in ([], ["its record cannot be read"])
                checkout.pipeline("history")
            path.write_bytes(sound)


class TestFolders:
    @pytest.mark.parametrize("folder", ["data", "outputs"])
    def test_that_are_read_only_are_named(self, checkout, trained, folder):
        place = checkout.folder / folder
        with mounted(place, "--bind", place):
            remount(place, "ro,bind")
            told = failed(checkout, "--seed", "7", status=1)
            assert f"{folder}/.runs/gate: Read-only file system. Make it writable for yourself, or name other" in told
            assert {row["state"] for row in checkout.status().values()} == {"cached"}
            assert "as it was made" in checkout.pipeline("verify")
        assert_put_right(checkout, trained)

    @pytest.mark.parametrize(
        ("removed", "told"),
        [
            ("outputs", "TrainMLP: the folder outputs/TrainMLP/.* was removed while the stage was at work"),
            ("outputs/TrainMLP", "TrainMLP: the folder outputs/TrainMLP/.* was removed while the stage was at work"),
            ("data/ConvertToHDF5", "the result of ConvertToHDF5, data/ConvertToHDF5/.*, was removed"),
        ],
    )
    def test_that_are_removed_under_a_stage_are_named(self, checkout, trained, removed, told):
        process = checkout.start(*LONG, task="TrainMLP")
        wait_for_row(process, 20)
        (checkout.folder / removed).rename(checkout.folder / "gone")  # at once: the run makes some of it anew
        printed = process.communicate(timeout=60)[0]
        assert process.returncode == 30
        assert re.search(told, printed)
        assert AGAIN in printed.lower()
        assert "Traceback" not in printed
        assert_put_right(checkout, trained)

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_that_several_stages_need_are_named_once(self, checkout, trained, workers):
        forced = "GrayscaleFlat,Grayscale2D,TrainMLP,TrainCNN"
        process = checkout.start(*LONG, "--workers", workers, "--force", forced)
        wait_for_row(process, 20)
        (checkout.folder / "data" / "ConvertToHDF5").rename(checkout.folder / "gone")
        printed = process.communicate(timeout=60)[0]
        assert process.returncode == 30
        assert printed.count("ERROR: the result of ConvertToHDF5, data/ConvertToHDF5/") == 1
        assert printed.count("ERROR: ") == 1
        assert_put_right(checkout, trained)


def test_a_clock_that_was_set_back_changes_nothing(checkout):
    """All that there is was made in the year 2100, as far as it says."""
    for path in (*checkout.folder.rglob("*/stage.json"), checkout.folder / "outputs" / "history.jsonl"):
        os.utime(path, (4_102_444_800,) * 2)
    history = checkout.folder / "outputs" / "history.jsonl"
    history.write_text(re.sub(r'"started": "\d+', '"started": "2100', history.read_text()))

    assert {row["state"] for row in checkout.status().values()} == {"cached"}
    assert set(checkout.run().values()) == {"reused"}
    assert checkout.history()[0]["started"].startswith("2100")
    checkout.run("--seed", "7")
    removed = checkout.pipeline("gc", "--keep-days", "0", "--yes", "--seed", "7", *checkout.flags())
    assert "9 folders, " in removed  # two trainings, their checkpoints, evaluations and histories, and a report


def test_two_machines_share_a_folder(checkout):
    """Locks hold between them, and the number of a process on one means nothing on the other."""

    def on(host, *command):
        return ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]

    if subprocess.run(on("one", "true"), capture_output=True, check=False).returncode:
        pytest.skip("a host name of its own needs root")
    flags = (*checkout.flags(), "--TrainMLP-epochs", "100000", "--TrainMLP-learning-rate", "0.001")
    options = {"cwd": checkout.folder, "env": checkout.environment(), "text": True, "stdout": subprocess.PIPE}
    first = subprocess.Popen(on("one", *checkout.command("TrainMLP", *flags)), **options)
    try:
        wait_for_row(first, 5)
        second = subprocess.Popen(on("two", *checkout.command("TrainMLP", *flags)), **options)
        assert re.search(r"TrainMLP: waiting for process \d+ on one, which makes it", second.stdout.readline())
        assert checkout.status(*flags)["TrainMLP"]["why"] == [f"by process {first.pid} on one"]
        first.kill()
        wait_for_row(second, 5)
        assert checkout.history()[-2]["exit"] == "killed"
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


class TestMemory:
    def test_that_a_stage_cannot_have_is_told(self, checkout, trained):
        """Its weights are too large. All else has enough: OpenBLAS, for one, would wait for ever for its own."""
        forget(checkout, "TrainMLP")
        units, too_many = "hidden_num_units=100,", "hidden_num_units=110_000,"
        checkout.edit("pipeline/networks/declared.py", units, too_many)
        limited = ["prlimit", f"--as={800 << 20}", *checkout.command("TrainMLP", *checkout.flags())]
        one_thread = checkout.environment(OPENBLAS_NUM_THREADS="1")
        done = subprocess.run(
            limited, cwd=checkout.folder, env=one_thread, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 30
        assert "TrainMLP: out of memory (" in done.stderr
        assert "Traceback" not in done.stderr
        checkout.edit("pipeline/networks/declared.py", too_many, units)
        assert_put_right(checkout, trained)

    def test_for_want_of_which_the_system_kills_a_worker(self, checkout, trained):
        """The system does so by SIGKILL, as this test does."""
        process = checkout.start(*LONG, "--workers", "2", task="TrainMLP")
        wait_for_row(process, 20)
        for worker in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(worker), signal.SIGKILL)
        told = process.communicate(timeout=60)[0]
        assert process.returncode == 30
        assert re.search(
            r"TrainMLP: its process was killed by SIGKILL, perhaps by the system because memory ran out .* \d+ MB", told
        )
        assert_put_right(checkout, trained)


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(checkout):
    forget(checkout, "TrainMLP")
    flags = ("--TrainMLP-epochs", "9", "--TrainMLP-learning-rate", "1e5", "--TrainMLP-batch-size", "160")
    told = failed(checkout, *flags, task="TrainMLP")
    lost = re.search(
        r"the loss is (?:nan|inf) in epoch (\d), (?:minibatch \d|validation), with learning rate 100000.0: ", told
    )
    epoch = int(lost[1])
    kept = {path.name for path in checkout.folder.glob("outputs/checkpoints/TrainMLP-*/*")}
    assert kept == {f"epoch-{epoch - 2}.h5", f"epoch-{epoch - 1}.h5"}
