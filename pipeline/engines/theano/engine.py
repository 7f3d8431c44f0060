"""The article's own stack as an engine: Theano, Lasagne and nolearn, in a child process.

They run in an environment of their own (`pipeline.engines.theano.environment`), on an older Python. What that
process does is in `pipeline.engines.theano.child`; the article's code is in its ``network.py``.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pipeline.engines import devices
from pipeline.engines.engine import Examples
from pipeline.engines.theano import environment
from pipeline.engines.theano.child.messages import Arrays, receive, send
from pipeline.engines.theano.flags import decisive_flags, given_flags
from pipeline.errors import DeviceError, EngineError, SettingError
from pipeline.networks.arrays import DoubleArray, FloatArray
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.weights import Weights

if TYPE_CHECKING:
    # This makes the child's code part of the engine's for whoever follows imports; it cannot run here.
    from pipeline.engines.theano.child import process  # noqa: F401

START = """
import sys
from importlib.machinery import FileFinder, SourceFileLoader

class Uncompiled(SourceFileLoader):
    def path_stats(self, path):
        raise OSError  # a compiled file may be that of an edit within the same second

def finder(folder):
    if not folder.startswith(sys.argv[1]):
        raise ImportError
    return FileFinder(folder, (Uncompiled, [".py"]))

sys.path_hooks.insert(0, finder)
sys.path.append(sys.argv[1])  # last, since engines are called theano and torch too
from child.process import serve
serve(parent=int(sys.argv[2]))
"""

PASSED_ON = ("PATH", "HOME", "USER", "TMPDIR", "THEANORC", "LIBRARY_PATH", "LD_LIBRARY_PATH", "CPATH", "SDKROOT")
"""All that the child inherits of the environment: what the compiler, Theano's settings and files need."""


@dataclass(frozen=True)
class TheanoEngine:
    """The engine, with the settings that the article's ``.theanorc`` had beside the device.

    Parameters
    ----------
    float_x : {"float32", "float64"}
        The type that Theano computes in; weights are float32 outside.
    fast_math : bool (default=False)
        The article set ``nvcc.fastmath``, an option of a GPU backend that Theano 1.0 no longer has; on the
        CPU the same is asked of the compiler, as ``-ffast-math``.
    flags : dict, optional
        What `decisive_flags` must return when Theano starts; left out, whatever it returns.
    """

    float_x: str = "float32"
    fast_math: bool = False
    flags: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.float_x not in devices.FLOAT_TYPES:
            raise SettingError(f"floatX is {self.float_x!r}; expected {' or '.join(devices.FLOAT_TYPES)}.")

    def trainer(
        self,
        network: Network,
        hyperparameters: Hyperparameters,
        weights: Weights,
        train: Examples,
        valid: Examples,
        *,
        device: str,
        threads: int,
        velocity: Weights | None = None,
    ) -> TheanoTrainer:
        child = self._child(device, threads)
        child.ask(
            "train",
            {
                "architecture": network.to_json(),
                "learning_rate": hyperparameters.learning_rate,
                "momentum": hyperparameters.momentum,
                "batch_size": hyperparameters.batch_size,
            },
            {
                **{f"weights/{name}": values for name, values in weights.items()},
                **{f"velocity/{name}": values for name, values in (velocity or {}).items()},
                "train/images": train.images,
                "train/labels": train.labels,
                "valid/images": valid.images,
                "valid/labels": valid.labels,
            },
        )
        return TheanoTrainer(child)

    def probabilities(
        self, network: Network, weights: Weights, images: FloatArray, *, device: str, threads: int
    ) -> FloatArray:
        with self._child(device, threads) as child:
            fields = {"architecture": network.to_json()}
            _, arrays = child.ask("probabilities", fields, {**weights, "images": images})
        return arrays["probabilities"].astype(np.float32, copy=False)

    def exponentials(self, vector: FloatArray, repeats: int, *, device: str, threads: int) -> tuple[FloatArray, float]:
        with self._child(device, threads) as child:
            fields, arrays = child.ask("exponentials", {"repeats": repeats}, {"vector": vector})
        if fields["used"] != device:
            raise DeviceError(f"device is {device!r}, but Theano used the {fields['used']}.")
        return arrays["result"].astype(np.float32, copy=False), fields["seconds"]

    def first_wait(self) -> str | None:
        has_compiled = environment.CACHE.is_dir() and any(environment.CACHE.glob("compiledir_*"))
        return (
            None
            if has_compiled
            else "Theano compiles its operations, once on this machine; it takes about half a minute"
        )

    def facts(self) -> dict[str, Any]:
        return {"theano_flags": self.all_flags(), "versions": environment.versions()}

    def device_name(self, device: str) -> str:
        _check_device(device)
        return devices.processor_name()

    def all_flags(self) -> dict[str, str]:
        """Return the flags that Theano is given: defaults, then the user's own, then those that are settings."""
        # keeping memory between steps saves the CNN a third of its CPU time: 450,000 page faults in 41 minibatches
        flags = {"openmp": "True", "allow_gc": "False", **given_flags()}
        if self.fast_math:
            flags["gcc.cxxflags"] = f"{flags.get('gcc.cxxflags', '')} -ffast-math".strip()
        return flags | {"device": "cpu", "floatX": self.float_x, "base_compiledir": str(environment.CACHE)}

    def _child(self, device: str, threads: int) -> Child:
        _check_device(device)
        if not environment.is_ready():
            raise EngineError(
                "the environment of Theano is not built, or its requirements have changed. Build it with: make theano"
            )
        if self.flags not in (None, decisive_flags()):
            raise EngineError("Theano's flags were edited after this run began. Run the same command again.")
        return Child(self.all_flags(), threads)


class TheanoTrainer:
    """A network in training in a child process, which has the data; nolearn validates at the end of each epoch."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def train_epoch(self, on_progress: Callable[[int], None]) -> DoubleArray:
        _, arrays = self._child.ask("epoch", on_progress=on_progress)
        return arrays["losses"]

    def validate(self) -> tuple[float, float]:
        fields, _ = self._child.ask("validation")
        return fields["loss"], fields["accuracy"]

    def weights(self) -> Weights:
        """Return a copy of the weights in Theano's own type, since one can go on exactly from no other."""
        return self._child.ask("weights")[1]

    def velocity(self) -> Weights:
        """Return a copy of the velocity of each weight, likewise."""
        return self._child.ask("velocity")[1]

    def close(self) -> None:
        """End the child process; it also ends with the trainer, and with this process.

        Raises
        ------
        EngineError
            The child ended with an exit status other than 0.
        """
        self._child.close()


class Child:
    """The child process and the conversation with it.

    It leads a process group of its own: Ctrl-C reaches it through us alone, and whatever it started, such as
    a compiler, ends with it.
    """

    def __init__(self, flags: dict[str, str], threads: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - a program of ours
            [environment.interpreter(), "-I", "-c", START, Path(__file__).parent, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(flags, threads),
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._process, self._errors, os.getpid())

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._end()

    def ask(
        self,
        action: str,
        fields: dict[str, Any] | None = None,
        arrays: Arrays | None = None,
        on_progress: Callable[[int], None] = lambda _done: None,
    ) -> tuple[dict[str, Any], Arrays]:
        """Have the child do something and return its answer.

        Raises
        ------
        EngineError
            It failed or died; the message tells where all it said is kept.
        """
        if not self._end.alive:
            raise EngineError("the process of Theano has ended already; start the training again.")
        try:
            send(self._stdin, {"do": action, **(fields or {})}, arrays)
            while True:
                answer, results = receive(self._stdout)
                if "progress" not in answer:
                    break
                on_progress(answer["progress"])
        except (EOFError, BrokenPipeError):
            self._process.wait()
            raise self._error(f"Theano's process {_ending(self._process.returncode)}") from None
        except BaseException:
            # the conversation is broken off: nothing that is still to come could be told apart
            self._end()
            raise
        if "error" in answer:
            raise self._error(f"Theano failed: {answer['error']}")
        return answer, results

    def close(self) -> None:
        """Let the child end, and check that it ends well."""
        if not self._end.alive:
            return
        with contextlib.suppress(BrokenPipeError):
            send(self._stdin, {"do": "stop"})
        self._process.wait()
        if self._process.returncode != 0:
            raise self._error(f"Theano's process {_ending(self._process.returncode)}")
        self._end()

    def _error(self, message: str) -> EngineError:
        """Keep what the child said, end it, and return the error to raise."""
        self._errors.seek(0)
        log = environment.CACHE / f"error-{self._process.pid}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(self._errors.read())
        self._end()
        return EngineError(f"{message.rstrip('.')}. All it said is in {log}.")

    @property
    def _stdin(self) -> BinaryIO:
        assert self._process.stdin is not None
        return self._process.stdin  # type: ignore[return-value]

    @property
    def _stdout(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]


def _end(process: subprocess.Popen[bytes], errors: IO[bytes], owner: int) -> None:
    """Kill the child's process group; a copy of us that was forked leaves it alone."""
    if os.getpid() != owner:
        return
    errors.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: of a group that ended, the latter
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[union-attr]


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    reason = " (the machine may have run out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{reason}"


def _check_device(device: str) -> None:
    if device == "cuda":
        raise DeviceError(
            "Theano cannot use the GPU: its first GPU backend is gone since Theano 1.0, and the second needs pygpu, "
            "which is not on PyPI; asked for a GPU without it, Theano would go on on the CPU. "
            "On the GPU train with: --engine torch"
        )
    if device != "cpu":
        raise DeviceError(f"device is {device!r}; the Theano engine has 'cpu' alone.")


def _environment(flags: dict[str, str], threads: int) -> dict[str, str]:
    """Return the whole environment of the child."""
    inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **inherited,
        "THEANO_FLAGS": ",".join(_quoted(f"{name}={value}") for name, value in flags.items()),
        # Theano's convolution shares the images of a minibatch among OpenMP's threads, each with its own BLAS call
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        # waiting threads sleep: where other work has a core, spinning ones make an epoch take twice as long
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _quoted(flag: str) -> str:
    """Quote a flag for Theano, which splits them at commas, as a shell would at spaces."""
    return flag if "," not in flag and shlex.quote(flag) == flag else "'" + flag.replace("'", "'\"'\"'") + "'"


ENGINE = TheanoEngine()
