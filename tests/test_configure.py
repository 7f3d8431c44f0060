"""Settings that are kept in local.cfg, and shown with where they come from."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def pristine(states, tmp_path_factory):
    return states.copy("new", tmp_path_factory.mktemp("configure") / "checkout")


@pytest.fixture
def checkout(pristine):
    yield pristine
    (pristine.folder / "local.cfg").unlink(missing_ok=True)


@pytest.fixture
def local(checkout):
    return checkout.folder / "local.cfg"


def configure(checkout, *flags, status=0):
    """Return the lines that the command prints, as words; where it fails, all as a text."""
    printed = checkout.pipeline("configure", *flags, status=status)
    return printed if status else [line.split() for line in printed.splitlines()[1:]]


def refused(checkout, local, *flags):
    before = local.read_bytes() if local.exists() else None
    printed = configure(checkout, *flags, status=1)
    assert (local.read_bytes() if local.exists() else None) == before
    assert not list(checkout.folder.glob(".local*"))
    assert printed.count("\n") == 1
    return printed


class TestKeeping:
    def test_what_is_kept_counts_from_then_on(self, checkout, local):
        relative = "archive/cifar-10-python.tar.gz"
        assert configure(checkout, f"--DownloadCIFAR-archive={relative}", "--seed=7") == [
            ["settings.seed", "7", "local.cfg"],
            ["DownloadCIFAR.archive", str(checkout.archive), "local.cfg"],
        ]
        assert "sha256" not in checkout.pipeline("status")
        assert configure(checkout, "--device=cpu")[0] == ["settings.device", "cpu", "local.cfg"]
        assert local.read_text().count("[settings]") == 1

    def test_an_empty_value_takes_one_out(self, checkout, local):
        configure(checkout, "--seed=7", "--device=cpu", "--TrainCNN-epochs=3")
        assert configure(checkout, "--seed=", "--TrainCNN-epochs=") == [["settings.device", "cpu", "local.cfg"]]
        assert "[TrainCNN]" not in local.read_text()
        assert checkout.pipeline("configure", "--device=") == "Every setting has its default.\n"
        assert checkout.pipeline("configure", "--device=") == "Every setting has its default.\n"

    def test_comments_and_other_settings_stay(self, checkout, local):
        local.write_text(
            "# mine\n[TrainCNN]\n# fewer\nepochs = 3\n\n[DownloadCIFAR]\nsources =\n    https://a/b\n    https://c/d\n"
            "# of the copy\nsha256: 0\n".replace("sha256: 0", f"sha256: {'0' * 64}")
        )
        configure(checkout, "--DownloadCIFAR-sources=https://e/f", "--TrainCNN-momentum=0.8", "--TrainCNN-epochs=4")
        assert local.read_text() == (
            "# mine\n[TrainCNN]\n# fewer\nepochs = 4\nmomentum = 0.8\n\n[DownloadCIFAR]\nsources = https://e/f\n"
            f"# of the copy\nsha256: {'0' * 64}\n"
        )

    def test_a_per_cent_sign_and_quotes(self, checkout):
        title = """--ConvertToHDF5-title=50% of 'my' "pictures" # all"""
        assert checkout.pipeline("configure", title).splitlines()[1] == (
            """ConvertToHDF5.title  50% of 'my' "pictures" # all  local.cfg"""
        )
        assert configure(checkout, "--seed=7")

    def test_the_file_keeps_its_permissions(self, checkout, local):
        local.touch(mode=0o600)
        configure(checkout, "--seed=7")
        assert local.stat().st_mode & 0o777 == 0o600

    def test_the_demo(self, checkout):
        (checkout.folder / ".cache").mkdir(exist_ok=True)
        (checkout.folder / ".cache" / "digits.tar.gz").write_bytes(checkout.archive.read_bytes())
        assert configure(checkout, "--demo")[0] == ["settings.data", "demo", "local.cfg"]


class TestRefusing:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ("--seed=abc", "settings.seed is 'abc'; expected a whole number."),
            ("--seed=-1", "seed is -1; expected"),
            ("--engine=troch", "engine is 'troch'; expected"),
            ("--DownloadCIFAR-archive=nowhere", "there is no archive at /"),
            ("--TrainCNN-learning-rate=nan", "TrainCNN.learning_rate is nan; expected"),
            ("--force=TrainCNN", "force is 'TrainCNN', with which every later run would compute again; expected"),
            ("--data=latest", "data is 'latest'; expected"),
            ("--sead=3", "there is no setting --sead; luigi.cfg has all. Did you mean '--seed'?"),
            ("--ConvertToHDF5-title=${HOME}", "ConvertToHDF5.title is '${HOME}'; expected a line"),
            ("--ConvertToHDF5-title=a\nb", r"ConvertToHDF5.title is 'a\nb'; expected a line"),
            ("--ConvertToHDF5-title=\udcff", r"ConvertToHDF5.title is '\udcff'; expected a line"),
        ],
    )
    @pytest.mark.parametrize("before", [None, "[settings]\ndevice = cpu\n"])
    def test_a_wrong_value_leaves_the_file(self, checkout, local, flags, message, before):
        if before:
            local.write_text(before)
        assert message in refused(checkout, local, flags)

    @pytest.mark.parametrize("flags", ["--seed=7", "--seed="])
    def test_a_key_that_does_not_begin_its_line(self, checkout, local, flags):
        local.write_text("[settings]\n  device = cpu\n  seed = 3\n")
        assert "Write `seed = ...` at the beginning of its line" in refused(checkout, local, flags)

    def test_a_wrong_value_can_be_replaced_and_taken_out(self, checkout, local):
        local.write_text("[settings]\nseed = abc\n[DownloadCIFAR]\narchive = nowhere\n")
        assert "seed is 'abc'" in refused(checkout, local, "--device=cpu")
        assert "there is no archive at nowhere" in refused(checkout, local, "--seed=7")
        assert configure(checkout, "--seed=7", "--DownloadCIFAR-archive=") == [["settings.seed", "7", "local.cfg"]]

    def test_a_value_that_another_file_hides(self, checkout, local, tmp_path):
        (tmp_path / "other.cfg").write_text("[settings]\nengine = numba\n")
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "configure", "--engine=troch"],
            cwd=checkout.folder,
            env=checkout.environment(LUIGI_CONFIG_PATH=str(tmp_path / "other.cfg")),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "engine is 'troch'" in done.stderr
        assert not local.exists()

    def test_elsewhere(self, checkout, tmp_path):
        for flags in ([], ["--seed=7"]):
            done = checkout.call(sys.executable, "-m", "pipeline", "configure", *flags, cwd=tmp_path)
            assert done.returncode == 1
            assert f"there is no luigi.cfg in {tmp_path}" in done.stderr
            assert list(tmp_path.iterdir()) == []


class TestShowing:
    def test_nothing_is_changed(self, checkout):
        assert checkout.pipeline("configure") == "Every setting has its default.\n"

    def test_where_each_comes_from(self, checkout, local, tmp_path):
        shipped = (checkout.folder / "luigi.cfg").read_text()
        (checkout.folder / "luigi.cfg").write_text(
            shipped.replace("\nseed = 42", "\nseed = 9").replace("workers = 1", "workers = 2")
        )
        local.write_text("[settings]\nengine = torch\ndevice = cpu\n")
        (tmp_path / "other.cfg").write_text(
            "[settings]\ndevice = auto\n[core]\nlog_level = DEBUG\n[TrainMLP]\nepochs = 3\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "configure"],
            cwd=checkout.folder,
            env=checkout.environment(LUIGI_CONFIG_PATH=str(tmp_path / "other.cfg")),
            capture_output=True,
            text=True,
            check=False,
        )
        (checkout.folder / "luigi.cfg").write_text(shipped)
        other = str(tmp_path / "other.cfg")
        assert sorted(line.split() for line in done.stdout.splitlines()) == [
            ["SETTING", "VALUE", "FROM"],
            ["TrainMLP.epochs", "3", other],
            ["core.log_level", "DEBUG", other],
            ["core.workers", "2", "luigi.cfg"],
            ["settings.engine", "torch", "local.cfg"],
            ["settings.seed", "9", "luigi.cfg"],
        ]

    def test_no_secret(self, checkout, local):
        local.write_text(
            "[DownloadCIFAR]\nsources = https://me:s3cret@host/a?key=s3cret\n[smtp]\npassword = s3cret\n"
            "[schedule]\non_failure_webhook = https://host/s3cret\non_failure_command = tell s3cret\n"
        )
        printed = checkout.pipeline("configure")
        assert "https://host/a?..." in printed
        assert "smtp.password" in printed
        assert "s3cret" not in printed

    def test_a_misspelt_key(self, checkout, local):
        local.write_text("[settings]\nsead = 7\n")
        assert "local.cfg: [settings] has the key sead = 7, which nothing reads" in refused(checkout, local)
