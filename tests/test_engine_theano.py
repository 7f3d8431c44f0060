"""The Theano engine with the real Theano, whose environment the tests build if a Python and a compiler are there."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines.engine import Examples, Training, confusion_matrix
from pipeline.engines.theano import environment as theano_environment
from pipeline.engines.theano.engine import ENGINE, TheanoEngine
from pipeline.errors import DeviceError, EngineError
from pipeline.networks.declaration import Network, hyperparameters
from pipeline.networks.declared import MLP
from pipeline.networks.weights import draw_weights
from tests.available import require
from tests.processes import processes

PROJECT = Path(__file__).parents[1]
SMALL = Network.build(
    {
        "layers": [["input", "InputLayer"], ["output", "DenseLayer"]],
        "input_shape": [None, 4],
        "output_num_units": 3,
        "output_nonlinearity": "softmax",
    }
)


@pytest.fixture(scope="module", autouse=True)
def environment():
    require("theano")


@pytest.fixture
def no_flags_of_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("THEANO_FLAGS", raising=False)
    monkeypatch.setenv("THEANORC", str(tmp_path / "theanorc"))
    return tmp_path / "theanorc"


pytestmark = [
    pytest.mark.usefixtures("no_flags_of_the_users"),
    pytest.mark.registry,
    pytest.mark.xdist_group("theano"),  # one process of Theano waits for another that compiles
]


def golden_trainer(golden, examples=None, **settings):
    """Return a trainer of the golden network from the golden weights."""
    drawn = draw_weights(golden.network, golden.seed)
    train, valid = examples or golden.examples, first(golden.examples, 300)
    return ENGINE(threads=2, **settings).trainer(Training(golden.network, golden.hyperparameters, drawn, train, valid))


def first(examples, count):
    return Examples(examples.images[:count], examples.labels[:count])


def started(make):
    """Return a trainer and its process ID."""
    before = children(os.getpid())
    trainer = make()
    (child,) = set(children(os.getpid())) - set(before)
    return trainer, child


def only(name):
    """Run a test with one of the golden networks alone."""
    return pytest.mark.parametrize("golden", [name], indirect=True)


def small_trainer(rows=1000, features=4, **settings):
    random = np.random.RandomState(0)
    examples = Examples(random.rand(rows, features).astype(np.float32), random.randint(0, 3, rows).astype(np.uint8))
    how = hyperparameters(MLP)
    return ENGINE(**settings).trainer(Training(SMALL, how, draw_weights(SMALL, 1), examples, examples))


def silent(_done):
    pass


class TestSteps:
    """Twenty minibatches against the recorded steps of the same libraries on another machine."""

    def test_takes_the_golden_steps(self, golden):
        trainer = golden_trainer(golden)
        losses = trainer.train_epoch(silent)
        after = trainer.weights()
        trainer.close()
        assert losses.dtype == np.float64
        np.testing.assert_allclose(losses, golden.losses, rtol=0, atol=golden.loss_tolerance)
        # Ties in the pooling windows, broken by rounding, move single weights of the CNN by a tenth of their way
        tolerance = {"mlp": 1e-6, "cnn": 3e-3}[golden.name]
        for name, values in after.items():
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, golden.after_all_steps[name], rtol=0, atol=tolerance, err_msg=name)

    def test_takes_the_golden_first_step(self, golden):
        trainer = golden_trainer(golden, examples=first(golden.examples, 128))
        trainer.train_epoch(silent)
        # One image with a tie in a pooling window moves a filter of the CNN by two millionths
        tolerance = {"mlp": 1e-7, "cnn": 1e-5}[golden.name]
        for name, values in trainer.weights().items():
            np.testing.assert_allclose(values, golden.after_one_step[name], rtol=0, atol=tolerance, err_msg=name)

    def test_gives_the_golden_probabilities(self, golden):
        drawn = draw_weights(golden.network, golden.seed)
        images = golden.examples.images[:128]
        probabilities = ENGINE(threads=2).probabilities(golden.network, drawn, images)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, golden.first_probabilities, rtol=0, atol=1e-6)

    def test_float_x_reaches_theano(self):
        """In float64 the losses are close to those in float32 but not equal."""
        losses = small_trainer(float_x="float64").train_epoch(silent)
        np.testing.assert_allclose(losses, small_trainer().train_epoch(silent), rtol=0, atol=1e-6)
        assert (losses != losses.astype(np.float32)).all()


class TestTrainer:
    @only("mlp")
    def test_the_next_epoch_continues_with_the_momentum(self, golden):
        """Two epochs over ten minibatches equal one epoch over the same twenty."""
        half = first(golden.examples, 1280)
        both = Examples(np.tile(half.images, (2, 1)), np.tile(half.labels, 2))
        in_two = golden_trainer(golden, examples=half)
        losses = np.concatenate([in_two.train_epoch(silent), in_two.train_epoch(silent)])
        np.testing.assert_array_equal(losses, golden_trainer(golden, examples=both).train_epoch(silent))

    @only("mlp")
    def test_validates_with_the_current_weights(self, golden):
        trainer = golden_trainer(golden)
        for _ in ("before the first epoch", "after it"):
            found = trainer.validate()
            valid = first(golden.examples, 300)
            probabilities = ENGINE().probabilities(golden.network, trainer.weights(), valid.images)
            picked = probabilities[np.arange(300), valid.labels]
            assert found.loss == pytest.approx(-np.log(picked).mean(), abs=1e-5)
            expected = confusion_matrix(valid.labels, probabilities.argmax(1), golden.network.classes)
            np.testing.assert_array_equal(found.confusion, expected)
            trainer.train_epoch(silent)

    @only("cnn")
    def test_reports_the_progress_while_it_trains(self, golden):
        reported = []
        golden_trainer(golden).train_epoch(reported.append)
        assert reported
        assert reported == sorted(reported)
        assert set(reported) <= set(range(128, 2561, 128))

    def test_a_deleted_trainer_ends_its_process(self):
        trainer, child = started(small_trainer)
        del trainer
        assert gone(child)


class TestErrors:
    def test_the_message_has_theanos_error_and_the_file_with_its_output(self):
        trainer, child = started(lambda: small_trainer(features=5))
        with pytest.raises(EngineError, match=r"ValueError: .*\. Its whole output is in (\S+)\.$") as caught:
            trainer.train_epoch(silent)
        log = Path(re.search(r"in (\S+)\.$", str(caught.value))[1])
        assert "Traceback (most recent call last)" in log.read_text()
        log.unlink()
        assert gone(child)

    @pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGTERM"])
    def test_notices_that_the_process_died(self, name):
        trainer, child = started(small_trainer)
        os.kill(child, getattr(signal, name))
        # On SIGTERM the child kills its process group, itself included.
        seen = "SIGKILL" if name == "SIGTERM" else name
        with pytest.raises(EngineError, match=f"was killed by {seen}") as caught:
            trainer.train_epoch(silent)
        Path(re.search(r"in (\S+)\.$", str(caught.value))[1]).unlink()
        with pytest.raises(EngineError, match="has ended already"):
            trainer.weights()

    @only("cnn")
    @pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
    def test_an_interrupted_epoch_ends_the_process(self, golden, error):
        trainer, child = started(lambda: golden_trainer(golden))

        def interrupt(_done):
            raise error

        with pytest.raises(error):
            trainer.train_epoch(interrupt)
        assert gone(child)

    def test_cuda_is_refused_and_the_message_names_another_engine(self):
        with pytest.raises(DeviceError, match=r"pygpu.*--engine torch"):
            ENGINE(device="cuda")
        with pytest.raises(DeviceError, match="'cpu' alone"):
            ENGINE(device="tpu")

    def test_an_environment_that_is_not_built_names_the_command(self, monkeypatch, tmp_path):
        monkeypatch.setattr(theano_environment, "ENVIRONMENT", tmp_path / "venv")
        with pytest.raises(EngineError, match="make theano"):
            ENGINE().exponentials(np.ones(3, np.float32), 1)


class TestOrphans:
    """The child ends with the engine's process, in any way."""

    TRAINING = """
        from test_engine_theano import small_trainer
        trainer = small_trainer(rows=100_000)
        while True:
            trainer.train_epoch(lambda done: print("training", flush=True))
    """

    COMPILING = """
        import sys, pathlib
        import numpy as np
        from pipeline.engines.theano import environment
        from pipeline.engines.theano.engine import ENGINE
        environment.CACHE = pathlib.Path(sys.argv[1])
        print("compiling", flush=True)
        ENGINE().exponentials(np.ones(3, np.float32), 1)
    """

    FORKED = """
        import os, time
        from test_engine_theano import small_trainer
        trainer = small_trainer()
        if os.fork() == 0:
            os.close(1)
            time.sleep(10)  # it outlives its parent, with the other end of the child's connection
            os._exit(0)
        print("forked", flush=True)
        time.sleep(60)
    """

    def start(self, program, *arguments):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])}
        command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout.readline()
        return process

    @pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
    def test_none_when_the_parent_ends_in_training(self, name):
        with self.start(self.TRAINING) as parent:
            (child,) = children(parent.pid)
            parent.send_signal(getattr(signal, name))
            assert gone(child)

    def test_none_when_a_forked_process_holds_the_connection(self):
        with self.start(self.FORKED) as parent:
            (child,) = children(parent.pid)
            parent.kill()
            assert gone(child, seconds=5)

    def test_no_compiler_when_the_parent_is_killed(self, monkeypatch, tmp_path):
        """The lock of the compile cache does not block the next process."""
        with self.start(self.COMPILING, tmp_path) as parent:
            (child,) = wait_for(lambda: children(parent.pid))
            wait_for(lambda: any("cc1plus" in found.arguments for found in group(child)))
            parent.kill()
            assert gone(child)
            assert wait_for(lambda: not group(child))
        monkeypatch.setattr(theano_environment, "CACHE", tmp_path)
        ones = np.ones(3, np.float32)
        result, _ = ENGINE().exponentials(ones, 1)
        np.testing.assert_allclose(result, np.exp(ones), rtol=1e-6)


class TestFlags:
    def test_the_users_own_are_kept_except_those_that_are_settings(self, monkeypatch, no_flags_of_the_users):
        no_flags_of_the_users.write_text(
            "[global]\ndevice = gpu\nfloatX = float32\nopenmp = False\n[gcc]\ncxxflags = -O2\n"
        )
        monkeypatch.setenv("THEANO_FLAGS", "optimizer=fast_compile,floatX=float64")
        flags = ENGINE().all_flags()
        assert flags["optimizer"] == "fast_compile"
        assert flags["openmp"] == "False"
        assert flags["gcc.cxxflags"] == "-O2"
        assert flags["device"] == "cpu"
        assert flags["floatX"] == "float32"

    def test_fast_math_joins_the_users_compiler_flags(self, no_flags_of_the_users):
        no_flags_of_the_users.write_text("[gcc]\ncxxflags = -O2\n")
        assert TheanoEngine(fast_math=True).all_flags()["gcc.cxxflags"] == "-O2 -ffast-math"

    def test_they_reach_theano(self, monkeypatch):
        """Theano itself refuses an unknown value, even one with a comma and a quote."""
        monkeypatch.setenv("THEANO_FLAGS", "'optimizer=it''s, or not'")
        with pytest.raises(EngineError, match="optimizer") as caught:
            ENGINE().exponentials(np.ones(3, np.float32), 1)
        log = Path(re.search(r"in (\S+)\.$", str(caught.value))[1])
        assert "its, or not" in log.read_text()
        log.unlink()


class TestExponentials:
    def test_are_those_of_numpy(self):
        vector = np.random.RandomState(22).rand(10 * 30 * 768).astype(np.float32)
        result, _ = ENGINE(threads=2).exponentials(vector, 3)
        np.testing.assert_allclose(result, np.exp(vector), rtol=1e-6)

    def test_two_at_once_share_an_empty_compile_cache(self, monkeypatch, tmp_path):
        monkeypatch.setattr(theano_environment, "CACHE", tmp_path)
        vector = np.arange(3, dtype=np.float32)
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(ENGINE().exponentials, vector, 1) for _ in range(2)]
            results = [future.result() for future in futures]
        for result, _ in results:
            np.testing.assert_allclose(result, np.exp(vector), rtol=1e-6)
        (program,) = tmp_path.glob("compiledir_*/tmp*/mod.cpp")
        assert "<iostream>" not in program.read_text()
        (module,) = program.parent.glob("*.so")
        assert b".debug_info" not in module.read_bytes()

    def test_on_a_device_with_a_name(self):
        assert ENGINE().device_name()


def children(parent):
    """Return the engine's processes under a process; they lead groups of their own."""
    return [found.pid for found in processes() if found.parent == parent and found.group == found.pid]


def group(leader):
    return [found for found in processes() if found.group == leader]


def wait_for(condition, seconds=30):
    """Return the result of a condition as soon as it is true, or the last one."""
    end = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return result


def gone(pid, seconds=30):
    return wait_for(lambda: pid not in [found.pid for found in processes()], seconds)
