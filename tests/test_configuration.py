"""What luigi.cfg and the command line may say, and what they are told when they say something else."""

from __future__ import annotations

import shutil
import sys

import pytest

import tasks  # noqa: F401, the sections are those of its tasks
from pipeline.errors import SettingError
from tasks.configuration import config_files
from tasks.luigi_adapter.configuration import PATH_VARIABLE
from tests.checkout import ROOT, STAGES
from tests.preloaded import Preloaded

SHIPPED = (ROOT / "luigi.cfg").read_text()
LUIGI = ("-c", "from luigi.cmdline import luigi_run; luigi_run()", "--module", "tasks")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def checkout(states, tmp_path_factory):
    return states.copy("new", tmp_path_factory.mktemp("configuration") / "checkout")


@pytest.fixture
def shipped(checkout):
    """Put luigi.cfg back after the test."""
    yield checkout.folder / "luigi.cfg"
    (checkout.folder / "luigi.cfg").write_text(SHIPPED)


def refused(folder, text):
    (folder / "luigi.cfg").write_text(text)
    with pytest.raises(SettingError) as caught:
        config_files.check_files()
    return str(caught.value)


def told(checkout, *arguments, program=("-m", "tasks"), status=40, **environment):
    """Run what must fail before any stage runs, and return what it prints."""
    done = checkout.python(*program, *arguments, **environment)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert not (checkout.folder / "data").exists()
    return done.stdout + done.stderr


class TestSoundFiles:
    def test_the_shipped_ones(self, folder, monkeypatch):
        (folder / "luigi.cfg").write_text(SHIPPED)
        (folder / "luigid.cfg").write_text((ROOT / "luigid.cfg").read_text())
        monkeypatch.setenv(PATH_VARIABLE, "luigid.cfg")

        config_files.check_files()

    def test_none(self, folder):
        config_files.check_files()

    @pytest.mark.parametrize(
        "text",
        [
            "[core]\nrpc_retry_wait = 1\nno-configure-logging = true",
            "[scheduler]\nretry-delay = 4\nrecord_task_history = false",
            "[retcode]\ntask_failed = 30",
            "[worker]\nkeep_alive = true",
            "[execution_summary]\nsummary_length = 9",
            "[resources]\ngpu = 1",
            "[task_history]\ndb_connection = sqlite://",
            "[logging]\nversion = 1",
            "[email]\nreceiver = someone@host",
            "[DEFAULT]\nepochs_everywhere = 7\n[TrainMLP]\nepochs = %(epochs_everywhere)s",
            "[TrainCNN]\non_engine = torch\nlearning-rate = ${RATE}",
            "[Pipeline]\n",
        ],
    )
    def test_whatever_luigi_reads(self, folder, text):
        (folder / "luigi.cfg").write_text(text)

        config_files.check_files()


class TestMisspelt:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[TrainCNM]\nepochs = 3", "luigi.cfg has a section [TrainCNM], which nothing reads; expected one of "),
            ("[TrainCNM]\nepochs = 3", "or one of Luigi's. Did you mean 'TrainCNN'?"),
            ("[setings]\n", "Did you mean 'settings'?"),
            ("[traincnn]\nepochs = 3", "luigi.cfg has a section [traincnn], which nothing reads"),
            ("[wroker]\nkeep_alive = true", "Did you mean 'worker'?"),
            ("[settings]\nsead = 7", "luigi.cfg: [settings] has the key sead = 7, which nothing reads; expected"),
            ("[settings]\nsead = 7", "seed, threads, versions_in_key. Did you mean 'seed'?"),
            ("[TrainCNN]\nepohcs = 3", "Did you mean 'epochs'?"),
            ("[TrainCNN]\nEpochs = 3", "Did you mean 'epochs'?"),
            ("[settings]\nseeds = 1", "Did you mean 'seed'?"),
            ("[setings]\n", "expected one of Compare, ConvertToHDF5, DownloadCIFAR, Evaluate, EvaluateCNN, EvaluateM"),
            (
                "[setings]\n",
                "Report, Sweep, Train, TrainCNN, TrainMLP, gate, schedule, settings, store, theano, torch",
            ),
            ("[EngineTask]\non_engine = numba", "has a section [EngineTask], which nothing reads"),
            ("[Gate]\nnetwork = mlp", "has a section [Gate], which nothing reads"),
            ("[settings]\nsha256 = 3", "It belongs into [DownloadCIFAR]."),
            ("[GrayscaleFlat]\nsize = 3", "[GrayscaleFlat] has the key size, which nothing reads; expected no key at"),
            ("[core]\nlog_levle = DEBUG", "[core] has the key log_levle, which nothing reads; expected"),
            ("[core]\nlog_levle = DEBUG", "Did you mean 'log_level'?"),
            ("[retcode]\ntask_faild = 3", "Did you mean 'task_failed'?"),
        ],
    )
    def test_a_section_or_a_key(self, folder, text, message):
        assert message in refused(folder, text)

    def test_in_the_file_that_the_environment_names(self, folder, monkeypatch):
        (folder / "other.cfg").write_text("[core]\nworkres = 2\n")
        monkeypatch.setenv(PATH_VARIABLE, "other.cfg")

        with pytest.raises(SettingError, match=r"^other.cfg: \[core\] has the key workres.*Did you mean 'workers'"):
            config_files.check_files()

    def test_in_local_cfg(self, folder):
        (folder / "local.cfg").write_text("[settings]\nsead = 7\n")

        with pytest.raises(SettingError, match=r"^local.cfg: \[settings\] has the key sead = 7.*Did you mean 'seed'"):
            config_files.check_files()

    @pytest.mark.parametrize("name", ["luigi.cfg", "local.cfg", "other.cfg"])
    def test_a_hyphen_where_luigi_looks_for_the_underscore(self, folder, monkeypatch, name):
        (folder / "luigi.cfg").write_text("[TrainCNN]\nlearning_rate =\n")
        with (folder / name).open("a") as file:
            file.write("learning-rate = 0.02\n" if name == "luigi.cfg" else "[TrainCNN]\nlearning-rate = 0.02\n")
        if name == "other.cfg":
            monkeypatch.setenv(PATH_VARIABLE, name)

        with pytest.raises(SettingError, match=rf"^{name}: \[TrainCNN\] learning-rate does not count where luigi.cfg"):
            config_files.check_files()

    def test_shows_no_secret(self, folder):
        message = refused(folder, "[smtp]\npasword = s3cret")
        assert "Did you mean 'password'?" in message
        assert "s3cret" not in message
        assert "s3cret" not in refused(folder, "[DownloadCIFAR]\nsource = https://host/a?signature=s3cret")


class TestUnreadable:
    def test_a_file_that_is_not_there(self, folder, monkeypatch):
        monkeypatch.setenv(PATH_VARIABLE, "nowhere.cfg")

        with pytest.raises(SettingError, match=r"^LUIGI_CONFIG_PATH is 'nowhere.cfg', where there is no file"):
            config_files.check_files()

    def test_a_folder(self, folder):
        (folder / "luigi.cfg").mkdir()

        with pytest.raises(SettingError, match=r"^luigi.cfg cannot be read \(Is a directory\)"):
            config_files.check_files()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"epochs = 3\n", "no section headers"),
            (b"[settings]\nnonsense\n", "'nonsense"),
            (b"[settings]\n[settings]\n", "section 'settings' already exists"),
            (b"[settings]\nseed = 1\nseed = 2\n", "option 'seed' in section 'settings' already exists"),
            (b"[settings]\n# caf\xe9\n", "'utf-8' codec can't decode byte 0xe9"),
            (b"\xff\xfe[\0", "'utf-8' codec can't decode byte 0xff"),
        ],
    )
    @pytest.mark.parametrize("program", [("-m", "tasks", "Pipeline"), ("-m", "pipeline", "status")])
    def test_what_makes_no_sense(self, checkout, shipped, content, message, program):
        shipped.write_bytes(content)

        printed = told(checkout, program=program)

        assert "luigi.cfg, local.cfg or the file that LUIGI_CONFIG_PATH names cannot be parsed: " in printed
        assert message in printed

    def test_importing_tasks_raises_an_error_that_a_program_can_catch(self, checkout, shipped):
        shipped.write_bytes(b"nonsense\n")
        program = """
from pipeline.errors import SettingError
try:
    import tasks
except SettingError as error:
    print("caught:", error)
"""
        assert "caught: luigi.cfg, local.cfg or " in told(checkout, program=("-c", program), status=0)


FLAGS = {
    "--TrainCNN-epochs 0": "TrainCNN.epochs is 0; expected a whole number from 1.",
    "--TrainCNN-epochs -3": "TrainCNN.epochs is -3; expected a whole number from 1.",
    "--seed=": "settings.seed is ''; expected a whole number.",
    "--TrainCNN-epochs many": "TrainCNN.epochs is 'many'; expected a whole number. Passes over the training images.",
    "--TrainMLP-learning-rate nan": "TrainMLP.learning_rate is nan; expected a number above 0.",
    "--TrainMLP-learning-rate inf": "TrainMLP.learning_rate is inf; expected a number above 0.",
    "--TrainMLP-learning-rate -0.1": "TrainMLP.learning_rate is -0.1; expected a number above 0.",
    "--TrainMLP-momentum 1": "TrainMLP.momentum is 1.0; expected a number of at least 0 and below 1.",
    "--TrainMLP-batch-size 0": "TrainMLP.batch_size is 0; expected a whole number from 1.",
    "--TrainMLP-validation-fraction 0": "TrainMLP.validation_fraction is 0.0; expected a number above 0 and up to 0.5.",
    "--TrainMLP-validation-fraction 0.9": "TrainMLP.validation_fraction is 0.9; expected a number above 0 and up to",
    "--engine troch": "engine is 'troch'; expected auto, numba or torch or triton or theano. Did you mean 'torch'?",
    "--device cdua": "device is 'cdua'; expected auto, cpu, cuda, or one of several GPUs: cuda:0, c",
    "--device cuda:x": "device is 'cuda:x'; expected auto, cpu, cuda, or one of several GPUs: cuda:0, cuda:1. Did",
    "--engine numba --device cuda:1": "device is cuda:1, but the numba engine has kernels for the CPU only",
    "--engine numba --device cuda": "device is cuda, but the numba engine has kernels for the CPU only",
    "--seed -1": "seed is -1; expected a whole number from 0 to 4294967295.",
    "--seed 4294967296": "seed is 4294967296; expected a whole number from 0 to 4294967295.",
    "--threads -1": "threads is -1; expected a whole number from 0, which shares the cores out, to 1024 (there are",
    "--threads 1025": "threads is 1025; expected a whole number from 0, which shares the cores out, to 1024 (there",
    "--workers 0": "workers is 0; expected a whole number from 1.",
    "--workers two": "core.workers is 'two'; expected a whole number.",
    "--log-level LOUD": "core.log_level is 'LOUD'; expected CRITICAL or DEBUG or",
    "--versions-in-key maybe": "settings.versions_in_key is 'maybe'; expected true or false.",
    "--force TrainCN": "force names 'TrainCN', which is no stage of Pipeline; expected any of Down",
    "--engine theano --theano-floatX float23": "theano.floatX is 'float23'; expected float32 or float64. Did you mean",
    "--DownloadCIFAR-stall-timeout nan": "DownloadCIFAR.stall_timeout is nan; expected a number from 0.1.",
    "--DownloadCIFAR-connect-timeout 0": "DownloadCIFAR.connect_timeout is 0.0; expected a number from 0.1.",
    "--DownloadCIFAR-minimum-rate -1": "DownloadCIFAR.minimum_rate is -1.0; expected a number from 0.",
    "--DownloadCIFAR-attempts 0": "DownloadCIFAR.attempts is 0; expected a number from 1.",
    "--DownloadCIFAR-sha256 12ab": "DownloadCIFAR.sha256 is '12ab'; expected 64 hexadecimal digits, as sha256sum",
    "--DownloadCIFAR-sources ftp://host/a": "'ftp://host/a' is no source of the archive; expected https://HOST/PATH",
    "--DownloadCIFAR-archive nowhere": "there is no archive at nowhere",
    "--TrainCNN-epohcs 3": "there is no setting --TrainCNN-epohcs; luigi.cfg has all. Did you mean '--TrainCNN-epo",
    "--sead=3": "there is no setting --sead; luigi.cfg has all. Did you mean '--seed'?",
    "--TrainCNN-lr 0.1": "no setting --TrainCNN-lr; luigi.cfg has all. Did you mean '--TrainCNN-learning-rate'?",
    "--TrainMLP-batch 9": "no setting --TrainMLP-batch; luigi.cfg has all. Did you mean '--TrainMLP-batch-size'?",
    "--lr 0.1": "'--TrainMLP-learning-rate' or '--TrainCNN-learning-rate' or '--Sweep-learning-rate'?",
    "--seed": "argument --seed: expected one argument",
    "--TrainMLP-epoch 2": "there is no setting --TrainMLP-epoch; luigi.cfg has all. Did you mean '--TrainMLP-epochs'?",
    "--data latest": "data is 'latest'; expected up to 64 letters, digits, _ and -, such as flowers, but neither",
    "--data Logs": "data is 'Logs'; expected",
    "--data checkpoints": "data is 'checkpoints'; expected",
    "--data traincnn": "data is 'traincnn'; expected",
    "--data EvaluateMLP2": "data is 'EvaluateMLP2'; expected",
    "--data ConvertToHDF5": "data is 'ConvertToHDF5'; expected",
    "--data=-flowers": "data is '-flowers'; expected",
    "--data ../flowers": "data is '../flowers'; expected",
    "--data .runs": "data is '.runs'; expected",
    "--data blümchen": "data is 'blümchen'; expected",
    f"--data {'x' * 65}": f"data is '{'x' * 65}'; expected up to 64",
    "--force TrainCNN,EvaluateMLP3": "force names 'EvaluateMLP3', which is no stage of ",
}


NOT_IN_USE = {
    "--torch-precision f8": "torch.precision is 'f8'; expected float32 or tf32 or bf16.",
    "--theano-floatX f16": "theano.floatX is 'f16'; expected float32 or float64.",
    "--theano-fastmath maybe": "theano.fastmath is 'maybe'; expected true or false.",
    "--schedule-when-busy foo": "schedule.when_busy is 'foo'; expected refuse or wait.",
    "--schedule-notice-seconds -1": "schedule.notice_seconds is -1.0; expected a number above 0.",
    "--schedule-notice-seconds inf": "schedule.notice_seconds is inf; expected a number above 0.",
    "--schedule-log-bytes 0": "schedule.log_bytes is 0; expected a number above 0.",
    "--schedule-on-failure-webhook foo": "schedule.on_failure_webhook is not a URL to post to; expected http",
    "--gate-largest-drop 2": "gate.largest_drop is 2.0; expected a number from 0 to 1, or nothing.",
    "--DownloadCIFAR-minimum-rate -1": "DownloadCIFAR.minimum_rate is -1.0; expected a number from 0.",
    "--DownloadCIFAR-sha256 zz": "DownloadCIFAR.sha256 is 'zz'; expected 64 hexadecimal digits, as sha256sum",
    "--DownloadCIFAR-sources ftp://x": "'ftp://x' is no source of the archive; expected https://HOST/PATH",
    "--TrainMLP-epochs 0": "TrainMLP.epochs is 0; expected a whole number from 1.",
    "--Train-momentum 2": "Train.momentum is 2.0; expected a number of at least 0 and below 1.",
    "--TrainCNN-on-engine troch": "engine is 'troch'; expected auto, numba or torch or triton or th",
    "--EvaluateCNN-trained-on-device gpu": "device is 'gpu'; expected auto, cpu, cuda, or one of several GPUs: cuda:0",
    "--TrainCNN-from-seed -1": "seed is -1; expected a whole number from 0 to 4294967295.",
    "--Compare-seeds 1,two": "Compare.seeds is '1,two'; expected whole numbers, such as 1,2,3.",
    "--Sweep-seeds 1,two": "Sweep.seeds has 'two'; expected whole numbers with commas between them, such as 1,2,3.",
    "--Sweep-learning-rate 0.1,": "Sweep.learning_rate has ''; expected numbers with commas between them, such as 0.0",
    "--Sweep-momentum 0.9,2": "Sweep.momentum is 2.0; expected a number of at least 0 and below 1.",
    "--Sweep-epochs 0": "Sweep.epochs is 0; expected a whole number from 1.",
    "--Sweep-network=": "Sweep.network has ''; expected names with commas between them.",
    "--Sweep-network cnm": "there is no network 'cnm'; pipeline/networks/declared.py declares",
    "--Sweep-engines troch": "engine is 'troch'; expected auto, numba or torch or triton or theano. Did you mean",
    "--seed -1": "seed is -1; expected a whole number from 0 to 4294967295.",
    "--engine troch": "engine is 'troch'; expected auto, numba or torch or triton or theano. Did you mean 'torch'?",
    "--scheduler-host night": "--scheduler-host does not count while local_scheduler is true; set that to false in",
}
"""What a run that takes an archive from disk, with the numba engine and without a gate, does not use."""


class TestLogs:
    def test_hold_neither_signatures_nor_the_environment(self, checkout):
        """At Luigi's most talkative, with a source that fails."""
        flags = [
            "--log-level",
            "DEBUG",
            "--DownloadCIFAR-sources",
            "file:///nowhere?signature=s3cret",
            "--workers",
            "2",
        ]
        done = checkout.python("-m", "tasks", "DownloadCIFAR", *flags, merged=True, SOME_PASSWORD="s3cret")
        shutil.rmtree(checkout.folder / "data")
        written = [path.read_bytes() for path in (checkout.folder / "outputs").rglob("*") if path.is_file()]

        assert done.returncode == 30
        assert "DEBUG: " in done.stdout
        assert "/nowhere?..." in done.stdout
        assert "s3cret" not in done.stdout
        assert written
        assert not any(b"s3cret" in content for content in written)


@pytest.fixture(scope="module")
def preloaded(checkout):
    made = Preloaded("import tasks", checkout.folder, checkout.environment())
    yield made
    made.close()


@pytest.fixture
def told_at_once(preloaded, checkout):
    """Return what runs a command that must fail before any stage runs, and returns what it prints."""

    def run(*arguments, module="tasks", status=40):
        place = {"folder": checkout.folder, "environment": checkout.environment()}
        done = preloaded.run(["-m", module, *arguments], **place, merged=True)
        assert done.returncode == status
        assert "Traceback" not in done.stdout
        assert not (checkout.folder / "data").exists()
        return done.stdout

    return run


class TestCommandLine:
    @pytest.mark.parametrize("flags", FLAGS)
    def test_a_wrong_value(self, told_at_once, flags):
        printed = told_at_once("Pipeline", *flags.split())

        assert FLAGS[flags] in printed
        assert printed.count("\n") == 1

    @pytest.mark.parametrize("flags", NOT_IN_USE)
    def test_a_wrong_value_that_is_not_in_use(self, checkout, told_at_once, flags):
        with_archive = ("GrayscaleFlat", "--DownloadCIFAR-archive", str(checkout.archive))

        printed = told_at_once(*with_archive, *flags.split())

        assert NOT_IN_USE[flags] in printed
        assert printed.count("\n") == 1

    def test_a_variable_that_only_a_timer_has_is_none(self, checkout, shipped):
        shipped.write_text(SHIPPED.replace("\non_failure_webhook =", "\non_failure_webhook = ${PIPELINE_WEBHOOK}"))

        assert "no source of the archive" in told(checkout, "DownloadCIFAR", "--DownloadCIFAR-sources", "ftp://x")

    @pytest.mark.parametrize(
        ("arguments", "message", "status"),
        [
            ("gc --keep-days nan", "argument --keep-days: 'nan'; expected a number from 0", 2),
            ("gc --keep-days -1", "argument --keep-days: '-1'; expected a number from 0", 2),
            ("gc --keep-days week", "argument --keep-days: 'week'; expected a number from 0", 2),
            ("history --last 0", "argument --last: '0'; expected a whole number from 1", 2),
            ("history --last few", "argument --last: 'few'; expected a whole number from 1", 2),
            ("status --threads -1 --sead 7", "there is no setting --sead; luigi.cfg has all. Did you mean", 1),
            (
                "schedule --every daily --dry-run --torch-precision f8",
                "torch.precision is 'f8'; expected float32 or",
                1,
            ),
        ],
    )
    def test_what_the_other_program_is_told(self, told_at_once, arguments, message, status):
        assert message in told_at_once(*arguments.split(), module="pipeline", status=status)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                "Pipelin",
                "there is no task 'Pipelin'. Did you mean 'Pipeline'?\nThe tasks are:\n  CheckDevice    Run the ",
            ),
            ("Evaluate", "Evaluate.network is not given. One of mlp, mlp_fitted, mlp2, cnn, cnn_printed."),
            (
                "Evaluate --network cn",
                "there is no network 'cn'; pipeline/networks/declared.py declares mlp, mlp_fitted, mlp2, cnn, ",
            ),
            ("TrainCNN --epochs two", "TrainCNN.epochs is 'two'; expected a whole number. Passes over the"),
            ("settings", "there is no task 'settings'.\nThe tasks are:\n"),
            ("gate", "there is no task 'gate'.\nThe tasks are:\n"),
            ("StageTask", "there is no task 'StageTask'.\nThe tasks are:\n"),
            (
                "CheckDevice --device gpu",
                "device is 'gpu'; expected auto, cpu, cuda, or one of several GPUs: cuda:0, c",
            ),
            ("Compare --seeds 1,two --device cpu", "Compare.seeds is '1,two'; expected whole numbers, such as 1,2,3."),
        ],
    )
    def test_a_wrong_task(self, told_at_once, arguments, message):
        assert message in told_at_once(*arguments.split())

    @pytest.mark.parametrize("program", [("-m", "tasks"), LUIGI])
    @pytest.mark.parametrize("arguments", [[], ["--workers", "2"], ["Pipelin"]])
    def test_no_task_that_there_is_gets_a_list_of_all(self, checkout, arguments, program):
        printed = told(checkout, *arguments, program=program)

        _, listed = printed.split("The tasks are:\n")
        names = [line.split()[0] for line in listed.splitlines()]
        assert names == sorted(names)
        assert {"Pipeline", "Compare", "Sweep", "CheckDevice", "Train", "Evaluate", "History", *STAGES} == set(names)
        assert "  TrainCNN       Train the article's convolutional network.\n" in listed

    def test_luigi_itself_tells_a_misspelt_key_too(self, checkout, shipped):
        shipped.write_text(SHIPPED.replace("\nseed = ", "\nsead = "))
        for printed in (
            told(checkout, "Pipeline", program=LUIGI),
            told(checkout, "CheckDevice", program=LUIGI),
            told(checkout, "status", program=("-m", "pipeline"), status=1),
        ):
            assert "luigi.cfg: [settings] has the key sead = 42, which nothing reads" in printed
            assert printed.count("\n") == 1

    def test_luigi_cfg_is_a_folder(self, checkout, shipped):
        shipped.unlink()
        shipped.mkdir()
        try:
            printed = told(checkout, "Pipeline")
        finally:
            shipped.rmdir()

        assert printed == "ERROR: luigi.cfg cannot be read (Is a directory); expected a file like luigi.cfg.\n"

    def test_another_kind_of_file_is_asked_for(self, checkout):
        (checkout.folder / "settings.toml").touch()

        for environment in ({"LUIGI_CONFIG_PARSER": "toml"}, {"LUIGI_CONFIG_PATH": "settings.toml"}):
            assert "the environment asks for TOML. Type `unset LUIGI_CONFIG" in told(
                checkout, "Pipeline", **environment
            )

    def test_the_exit_status_is_the_one_that_is_set(self, checkout, shipped):
        shipped.write_text(SHIPPED.replace("unhandled_exception = 40", "unhandled_exception = 41"))

        for arguments in (["Pipelin"], ["Pipeline", "--sead", "7"], ["Pipeline", "--seed", "x"]):
            told(checkout, *arguments, status=41)
        told(
            checkout, "EvaluateMLP", "--force", "TrainCNN", "--DownloadCIFAR-archive", str(checkout.archive), status=41
        )

    def test_an_archive_of_a_terabyte(self, checkout):
        path = checkout.folder / "huge.tar.gz"
        with path.open("wb") as file:
            file.truncate(1 << 40)

        printed = told(checkout, "Pipeline", "--DownloadCIFAR-archive", "huge.tar.gz")

        assert "the archive huge.tar.gz has 1,099,511,627,776 bytes; expected at most 2,147,483,648." in printed

    def test_a_wrong_value_in_the_file(self, checkout, shipped):
        shipped.write_text(SHIPPED.replace("\nseed = 42", "\nseed = ${NOT_SET_ANYWHERE}"))

        assert "nonexisting environment variable NOT_SET_ANYWHERE" in told(checkout, "Pipeline")


class TestLocalFile:
    """local.cfg: over luigi.cfg, under the file that the environment names, and under flags."""

    SEED = "import sys, tasks; from tasks.settings import settings; sys.stdout.write(str(settings.active().seed))"

    @pytest.fixture
    def local(self, checkout):
        path = checkout.folder / "local.cfg"
        path.write_text("[settings]\nseed = 7\n")
        yield path
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)

    def seed(self, checkout, **environment):
        return told(checkout, self.SEED, program=("-c",), status=0, **environment)

    def test_counts_wherever_tasks_are_imported(self, checkout, local):
        assert self.seed(checkout) == "7"
        local.unlink()
        assert self.seed(checkout) == "42"

    def test_the_file_that_the_environment_names_wins(self, checkout, local, tmp_path):
        (tmp_path / "other.cfg").write_text("[settings]\nseed = 8\n")
        assert self.seed(checkout, LUIGI_CONFIG_PATH=str(tmp_path / "other.cfg")) == "8"

    def test_counts_in_every_program(self, checkout, local):
        local.write_text("[DownloadCIFAR]\narchive = nowhere\n")
        luigi = ("-c", "from luigi.cmdline import luigi_run; luigi_run()", "--module", "tasks")

        assert "there is no archive at nowhere" in told(checkout, "Pipeline", program=luigi)
        assert "there is no archive at nowhere" in told(checkout, "Pipeline")
        assert "there is no archive at nowhere" in told(checkout, program=("-m", "pipeline", "status"), status=1)
        assert "there is no archive at elsewhere" in told(checkout, "Pipeline", "--DownloadCIFAR-archive", "elsewhere")

    def test_an_empty_flag_counts(self, checkout, local):
        local.write_text("[store]\nremote = file:///nowhere/results\n")
        status = ("-m", "pipeline", "status")
        assert "file:///nowhere/results: there is no folder /nowhere" in told(checkout, program=status, status=0)
        assert "nowhere" not in told(checkout, "--store-remote", "", program=status, status=0)

    def test_counts_in_scheduled_runs(self, checkout, local):
        local.write_text("[settings]\nengine = troch\n")
        assert "engine is 'troch'" in told(checkout, program=("-m", "tasks.scheduled"), status=40)
        shutil.rmtree(checkout.folder / "outputs", ignore_errors=True)

    def test_a_misspelt_setting_ends_a_run(self, checkout, local):
        local.write_text("[settings]\nsead = 7\n")
        assert "local.cfg: [settings] has the key sead = 7, which nothing reads" in told(checkout, "Pipeline")

    @pytest.mark.parametrize("content", [b"epochs = 3\n", b"[settings]\nseed = 1\nseed = 2\n", b"\xff"])
    def test_what_makes_no_sense(self, checkout, local, content):
        local.write_bytes(content)
        luigi = ("-c", "from luigi.cmdline import luigi_run; luigi_run()", "--module", "tasks")
        for program in (("-m", "tasks"), luigi):
            assert "LUIGI_CONFIG_PATH names cannot be parsed: " in told(checkout, "Pipeline", program=program)

    def test_a_folder(self, checkout, local):
        local.unlink()
        local.mkdir()
        assert "local.cfg cannot be read (Is a directory)" in told(checkout, "Pipeline")

    def test_alone_it_is_not_enough(self, checkout, tmp_path):
        (tmp_path / "local.cfg").write_text("[settings]\nseed = 7\n")
        done = checkout.call(sys.executable, "-m", "tasks", "Pipeline", cwd=tmp_path)
        assert done.returncode == 40
        assert f"there is no luigi.cfg in {tmp_path}" in done.stderr


class TestWithoutTheShippedFile:
    @pytest.mark.parametrize("program", [LUIGI, ("-m", "tasks")])
    def test_a_run_elsewhere_is_refused(self, checkout, tmp_path, program):
        done = checkout.call(sys.executable, *program, "Pipeline", cwd=tmp_path)
        assert done.returncode == 40
        assert f"there is no luigi.cfg in {tmp_path}; expected the settings there. " in done.stderr
        assert f"Type `cd {checkout.folder}`, or set LUIGI_CONFIG_PATH=" in done.stderr
        assert done.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("command", [["status"], ["gc", "--dry-run"], ["schedule", "--every", "daily"]])
    def test_what_looks_at_stages_elsewhere_is_refused(self, checkout, tmp_path, command):
        done = checkout.call(sys.executable, "-m", "pipeline", *command, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"there is no luigi.cfg in {tmp_path}; expected the settings there. ")
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize("content", ["", "[retcode]\n", "[retcode]\ntask_failed = 31\n"])
    def test_a_failed_stage_is_a_failed_run(self, checkout, shipped, content):
        """Luigi by itself looks for a luigid, logs everything, and ends with status 0."""
        shipped.write_text(content)
        failing = ("DownloadCIFAR", "--DownloadCIFAR-sources", "file:///nowhere")
        done = checkout.call(sys.executable, *LUIGI, *failing)
        shutil.rmtree(checkout.folder / "data")
        assert done.returncode == (31 if "31" in content else 30)
        assert done.stderr.partition("ERROR: ")[2].startswith("The archive cannot be fetched.\n")
        assert "Traceback" not in done.stderr
