"""What each width in the ``numba`` engine's table gains over the general kernel, which takes one vector at a time.

Each width is replaced in turn, and ``bench/kernels.py`` measures all kernels in a process of its own, round after
round; the best of each counts. Run it with ``python bench/widths.py [NETWORK ...]``. With
``NUMBA_CPU_FEATURES=+avx2,+fma`` it measures the kernels for a processor without AVX-512.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from pipeline.engines.numba.intrinsics import LANES, WIDTHS

ROUNDS = 3
GENERAL = {"rows": 4, "columns": LANES, "filters": LANES, "weights": LANES}
PROGRAM = """
import json
import sys
from pipeline.engines.numba import intrinsics
intrinsics.WIDTHS = intrinsics.Widths(*map(int, sys.argv[1].split(",")))
import kernels
kernels.ROUNDS = 5
print(json.dumps({name: kernels.measure(name) for name in sys.argv[2:]}))
"""


def measured(widths, networks, cache):
    """Return the seconds of each kernel of the networks, by name."""
    values = ",".join(map(str, widths))
    path = os.pathsep.join(filter(None, sys.path))  # this script's folder, which has kernels.py, comes first
    environment = os.environ | {"NUMBA_CACHE_DIR": f"{cache}/{values}", "PYTHONPATH": path}
    command = [sys.executable, "-c", PROGRAM, values, *networks]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rows = json.loads(done.stdout.splitlines()[-1])
    return {f"{network} {row['kernel']}": row["seconds"] for network in networks for row in rows[network]}


def main(networks):
    """Measure, and print each kernel that a width makes faster or slower by more than 3%."""
    tables = [WIDTHS, *(WIDTHS._replace(**{name: width}) for name, width in GENERAL.items())]
    best = {}
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(ROUNDS):
            for widths in dict.fromkeys(tables):
                for kernel, seconds in measured(widths, networks, cache).items():
                    times = best.setdefault(widths, {})
                    times[kernel] = min(seconds, times.get(kernel, seconds))
    print(f"widths: {WIDTHS}")
    for name, general in GENERAL.items():
        replaced = WIDTHS._replace(**{name: general})
        for kernel, seconds in best[WIDTHS].items():
            slower = best[replaced][kernel] / seconds
            if abs(slower - 1) > 0.03:
                print(
                    f"  {name} {getattr(WIDTHS, name)} in place of {general}: {kernel} takes 1/{slower:.2f} of the time"
                )


if __name__ == "__main__":
    main(sys.argv[1:] or ["mlp", "cnn"])
