"""Start the child process that runs Theano, and exchange messages with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from io import BufferedRWPair
from pathlib import Path
from typing import IO, Any

from pipeline.engines.theano import environment
from pipeline.engines.theano.child import process
from pipeline.engines.theano.child.messages import receive, send
from pipeline.errors import EngineError

START = """
import sys
from importlib.machinery import FileFinder, SourceFileLoader

class Uncompiled(SourceFileLoader):
    def path_stats(self, path):
        raise OSError  # a compiled file may be older than an edit within the same second

folder = sys.argv[1]
for path in (folder, folder + "/child"):
    sys.path_importer_cache[path] = FileFinder(path, (Uncompiled, [".py"]))
sys.path.append(folder)  # last: a module beside `child` must not hide one of a library
from child.process import serve
serve(parent=int(sys.argv[2]), connection=int(sys.argv[3]))
"""
"""The child's main program; its arguments: the folder of the package `child`, this process's ID, a connected socket."""

INHERITED = ("PATH", "HOME", "USER", "TMPDIR", "THEANORC", "LIBRARY_PATH", "LD_LIBRARY_PATH", "CPATH", "SDKROOT")
"""Variables that the child inherits: the compiler needs them, or Theano, to find its settings and files."""


class Child:
    """The child process.

    It leads a process group of its own, so Ctrl-C reaches this process alone, and every process that the child
    started, for example a compiler, ends with it.
    """

    def __init__(self, flags: dict[str, str], threads: int) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        folder = Path(process.__file__).parents[1]
        connection, of_child = socket.socketpair()
        with connection, of_child:
            self._stream = connection.makefile("rwb")
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours
                [environment.interpreter(), "-I", "-c", START, folder, str(os.getpid()), str(of_child.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=_environment(flags, threads),
                start_new_session=True,
                pass_fds=[of_child.fileno()],
            )
        self._end = weakref.finalize(self, _end, self._process, self._stream, self._output, os.getpid())

    def ask(self, action: str, on_progress: Callable[[int], None] = lambda _done: None, **arguments: Any) -> Any:
        """Call a function of `child.network.Worker` in the child, and return its result.

        If it fails or the child dies, `EngineError` names the file that holds the child's output.
        """
        if not self._end.alive:
            raise EngineError("the process of Theano has ended already; start the training again.")
        try:
            with contextlib.suppress(ConnectionError):  # of a dead child, which the next line reports
                send(self._stream, (action, arguments))
            kind, answer = self._receive()
            while kind == "progress":
                on_progress(answer)
                kind, answer = self._receive()
        except BaseException:
            # The rest of the answer is still to come and would be taken for the answer to the next request.
            self._end()
            raise
        if kind == "error":
            raise self._error(f"Theano failed: {answer}")
        return answer

    def close(self) -> None:
        """Stop the child; raise `EngineError` if its exit status is not 0."""
        if not self._end.alive:
            return
        with contextlib.suppress(ConnectionError):
            send(self._stream, None)
        if self._process.wait():
            raise self._death()
        self._end()

    def _receive(self) -> Any:
        try:
            return receive(self._stream)
        except (EOFError, ConnectionError):
            raise self._death() from None

    def _death(self) -> EngineError:
        """Wait for the end of the child, and return the error to raise."""
        status = self._process.wait()
        ending = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        if status == -signal.SIGKILL:
            ending += " (the machine may have run out of memory)"
        return self._error(f"Theano's process {ending}")

    def _error(self, message: str) -> EngineError:
        """Copy the child's output to a file, kill the child, and return the error to raise."""
        self._output.seek(0)
        log = environment.CACHE / f"error-{self._process.pid}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(self._output.read())
        self._end()
        return EngineError(f"{message.rstrip('.')}. Its whole output is in {log}.")


def _end(child: subprocess.Popen[bytes], stream: BufferedRWPair, output: IO[bytes], owner: int) -> None:
    """Kill the child's process group, unless this process is a fork of the owner."""
    if os.getpid() != owner:
        return
    output.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group that ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    with contextlib.suppress(OSError):
        stream.close()


def _environment(flags: dict[str, str], threads: int) -> dict[str, str]:
    """Return all environment variables of the child."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # Theano splits flags at commas, and reads quotes as a shell does.
    quoted = ["'" + f"{name}={value}".replace("'", "'\"'\"'") + "'" for name, value in flags.items()]
    return {
        **inherited,
        "THEANO_FLAGS": ",".join(quoted),
        # Theano's convolution shares the images of a minibatch among OpenMP's threads, each of which calls BLAS.
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        # Waiting threads sleep. Where another process needs a core, spinning threads double the time of an epoch.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
