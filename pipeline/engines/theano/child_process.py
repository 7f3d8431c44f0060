"""Start the child process that runs Theano, and exchange messages with it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

from pipeline.engines.theano import environment
from pipeline.engines.theano.child import process
from pipeline.engines.theano.child.messages import Arrays, receive, send
from pipeline.errors import EngineError

START = """
import sys
from importlib.machinery import FileFinder, SourceFileLoader

class Uncompiled(SourceFileLoader):
    def path_stats(self, path):
        raise OSError  # a compiled file may be older than an edit within the same second

def finder(folder):
    if not folder.startswith(sys.argv[1]):
        raise ImportError
    return FileFinder(folder, (Uncompiled, [".py"]))

sys.path_hooks.insert(0, finder)
sys.path.append(sys.argv[1])  # last: a module beside `child` must not hide one of a library
from child.process import serve
serve(parent=int(sys.argv[2]))
"""
"""The child's main program; its arguments are the folder of the package `child` and this process's ID."""

INHERITED = ("PATH", "HOME", "USER", "TMPDIR", "THEANORC", "LIBRARY_PATH", "LD_LIBRARY_PATH", "CPATH", "SDKROOT")
"""Variables that the child inherits: the compiler needs them, or Theano, to find its settings and files."""


class Child:
    """The child process.

    It leads a process group of its own, so Ctrl-C reaches this process alone, and every process that the child
    started, for example a compiler, ends with it.
    """

    def __init__(self, flags: dict[str, str], threads: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        folder = Path(process.__file__).parents[1]
        self._process = subprocess.Popen(  # noqa: S603 - a program of ours
            [environment.interpreter(), "-I", "-c", START, folder, str(os.getpid())],
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
        """Send a request, named like a method of `child.worker.Worker`, and return the answer.

        Raises
        ------
        EngineError
            The request failed or the child died; the message names the file that holds the child's output.
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
            # The rest of the answer is still to come and would be taken for the answer to the next request.
            self._end()
            raise
        if "error" in answer:
            raise self._error(f"Theano failed: {answer['error']}")
        return answer, results

    def close(self) -> None:
        """Stop the child; raise `EngineError` if its exit status is not 0."""
        if not self._end.alive:
            return
        with contextlib.suppress(BrokenPipeError):
            send(self._stdin, {"do": "stop"})
        self._process.wait()
        if self._process.returncode != 0:
            raise self._error(f"Theano's process {_ending(self._process.returncode)}")
        self._end()

    def _error(self, message: str) -> EngineError:
        """Copy the child's output to a file, kill the child, and return the error to raise."""
        self._errors.seek(0)
        log = environment.CACHE / f"error-{self._process.pid}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(self._errors.read())
        self._end()
        return EngineError(f"{message.rstrip('.')}. Its whole output is in {log}.")

    @property
    def _stdin(self) -> BinaryIO:
        assert self._process.stdin is not None
        return self._process.stdin  # type: ignore[return-value]

    @property
    def _stdout(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]


def _end(child: subprocess.Popen[bytes], errors: IO[bytes], owner: int) -> None:
    """Kill the child's process group, unless this process is a fork of the owner."""
    if os.getpid() != owner:
        return
    errors.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group that ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[union-attr]


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    reason = " (the machine may have run out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{reason}"


def _environment(flags: dict[str, str], threads: int) -> dict[str, str]:
    """Return all environment variables of the child."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {
        **inherited,
        "THEANO_FLAGS": ",".join(_quoted(f"{name}={value}") for name, value in flags.items()),
        # Theano's convolution shares the images of a minibatch among OpenMP's threads, each of which calls BLAS.
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        # Waiting threads sleep. Where another process needs a core, spinning threads double the time of an epoch.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _quoted(flag: str) -> str:
    """Quote a flag as a shell does; Theano splits flags at commas where a shell splits at spaces."""
    return flag if "," not in flag and shlex.quote(flag) == flag else "'" + flag.replace("'", "'\"'\"'") + "'"
