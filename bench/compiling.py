"""Seconds to compile the kernels of the ``numba`` engine, as once on each machine.

Each round is a process of its own with an empty folder for the kernels. Its start and its imports are left out.

Run it with ``python bench/compiling.py [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from measuring import machine, shown

COMPILE = """
import time
from pipeline.engines.engine import load_engine

engine, start = load_engine("numba"), time.perf_counter()
engine.prepare()
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure, print the seconds of each round and their median, and write ``.cache/bench/compiling.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often to compile (default: 5)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; expected at least 1")

    load_before = machine.load()
    seconds = []
    for number in range(options.rounds):
        seconds.append(compiled())
        print(f"  round {number + 1}: {seconds[-1]:.1f} s", flush=True)
    print(f"median: {statistics.median(seconds):.1f} s")
    loads = {"load_before": load_before, "load_after": machine.load()}
    shown.keep("compiling", {"machine": machine.description(), **loads, "seconds": seconds})


def compiled() -> float:
    """Compile the kernels into a folder that is removed afterwards, and return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", COMPILE]
        done = subprocess.run(command, cwd=shown.ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
