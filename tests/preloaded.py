"""Run Python's commands in processes that are forked after the libraries are imported.

To start Python and to import the libraries takes three quarters of a command that fails at once, and two thirds of a
run that trains small networks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

LIBRARIES = """
import luigi.cmdline, luigi.rpc, prometheus_client, numpy, h5py, matplotlib.figure
import matplotlib.backends.backend_agg, matplotlib.backends.backend_svg
from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
# Luigi reads its settings when it is imported: each process imports it again, without the libraries that Luigi imports
for name in [name for name in sys.modules if name.partition(".")[0] == "luigi"]:
    del sys.modules[name]
"""

SERVE = """
import gc, json, os, runpy, sys, warnings
{imports}
gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy has threads, which do nothing
        child = os.fork()
    if child == 0:
        os.setsid()
        for descriptor, path in enumerate((os.devnull, asked["stdout"], asked["stderr"])):
            os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), descriptor)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        kind, program, *arguments = asked["command"]
        first = os.getcwd() if kind == "-m" else ""
        sys.path[:1] = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        sys.argv = [kind, *arguments]
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(program)
        sys.exit()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Preloaded:
    """A process in a folder that has run some imports, and forks for each command."""

    def __init__(self, imports: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE.format(imports=imports)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it ends when this process closes its input, not when a person types Ctrl-C
        )

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        timeout: float = 60,
        merged: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python`` with ``-m`` or ``-c`` and the rest; ``merged`` puts its errors into its output."""
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
            asked = {
                "command": command,
                "folder": str(folder),
                "environment": dict(environment),
                "stdout": output.name,
                "stderr": output.name if merged else errors.name,
            }
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            child = int(self._process.stdout.readline())
            too_long = threading.Timer(timeout, os.killpg, (child, signal.SIGKILL))
            too_long.start()
            try:
                status = int(self._process.stdout.readline())
            finally:
                too_long.cancel()
            return subprocess.CompletedProcess(list(command), status, output.read(), errors.read())

    def close(self) -> None:
        self._process.communicate()
