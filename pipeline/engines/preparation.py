"""Prepare an engine in a process of its own, while a run makes the data for its first training.

The process ends with the run's. If it fails or is killed, the training compiles by itself. Its priority is the usual
one: the training may wait for it, on a machine with other work too.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import subprocess
import sys
import threading
import time

LOOK_INTERVAL = 0.2
"""Seconds between two looks at the run's process."""


@functools.cache  # one process, for all stages that wait for the engine
def begin(engine: str) -> None:
    """Start a process that calls `Engine.prepare` of an engine for the CPU, if one can start.

    It leads a session of its own, so Ctrl-C reaches this process alone.
    """
    with contextlib.suppress(OSError):
        process = subprocess.Popen(  # noqa: S603, a program of ours
            [sys.executable, "-m", __name__, engine, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        atexit.register(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process at the end of this one, if it has not ended; it keeps nothing that is not whole."""
    process.kill()
    process.wait()


def _end_with(parent: int) -> None:
    """End as soon as the parent ends, in any way: processes that it forked may hold a pipe to this one open."""
    while os.getppid() == parent:
        time.sleep(LOOK_INTERVAL)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()

    from pipeline.engines.engine import load_engine  # imports numpy, which `tasks` must not

    load_engine(sys.argv[1]).prepare()
