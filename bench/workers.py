"""Compare both networks trained side by side, one thread each, with one after the other, all threads each.

Each run is a whole ``luigi --module tasks Pipeline`` from the archive to the report, into folders that are removed
afterwards: with ``--workers 1`` and with ``--workers 2``, alternating. Ten times a second the threads that run are
counted: they must not outnumber the cores, but for a moment in which one hands over to another.

Run it with ``python bench/workers.py [--rounds 2] [--archive PATH]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import machine, shown
from measuring.shown import markdown_table
from pipeline.data.archive import ARCHIVE_NAME
from pipeline.engines import devices

SAMPLE_SECONDS = 0.1

Run = dict[str, Any]


def main() -> None:
    """Measure, print a table and write ``.cache/bench/workers.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="runs with each number of workers (default: 2)")
    parser.add_argument("--archive", type=Path, help="an archive on disk (default: that in data/)")
    parser.add_argument("--flags", default="", help="more flags for luigi, as '--TrainMLP-epochs 5'")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; expected at least 1")
    archive = options.archive or next(iter(shown.ROOT.glob(f"data/DownloadCIFAR/*/{ARCHIVE_NAME}")), None)
    if archive is None or not archive.exists():
        print(f"No archive {archive or 'in data/'}: run `make pipeline` first, or name one with --archive.")
        sys.exit(0 if options.archive is None else 1)

    load_before = machine.load()
    runs = []
    for number in range(options.rounds):
        for workers in (1, 2):
            runs.append(run(archive.absolute(), workers, options.flags.split()))
            print(f"  round {number + 1}, {workers} at a time: {runs[-1]['seconds']:.1f} s", flush=True)
    result = {"machine": machine.description(), "load_before": load_before, "load_after": machine.load(), "runs": runs}
    print(f"\n{table(runs)}")
    shown.keep("workers", result)


def run(archive: Path, workers: int, flags: list[str]) -> Run:
    """Run the pipeline once, and watch its threads."""
    with tempfile.TemporaryDirectory(dir=shown.CACHE.parent) as folder:
        command = [shown.LUIGI, "--module", "tasks", "Pipeline", "--workers", str(workers)]
        command += ["--DownloadCIFAR-archive", archive, "--data-dir", f"{folder}/data"]
        command += ["--outputs-dir", f"{folder}/outputs", *flags]
        with Path(folder, "log").open("w+") as log:
            busy, start = machine.busy_seconds(), time.perf_counter()
            process = subprocess.Popen(command, cwd=shown.ROOT, stdout=log, stderr=subprocess.STDOUT)
            watched = watch(process)
            seconds, busy = time.perf_counter() - start, machine.busy_seconds() - busy
            if process.returncode != 0:
                log.seek(0)
                sys.exit(f"The pipeline failed with --workers {workers}:\n{log.read()}")
        stages = {
            path.parent.parent.name: json.loads(path.read_text())["seconds"]
            for path in Path(folder).glob("*/*/*/stage.json")
            if not path.parent.parent.name.startswith("latest")
        }
    others = max(0.0, busy - watched["cpu_seconds"]) / seconds
    return {"workers": workers, "seconds": seconds, "others": others, "stages": stages, **watched}


def watch(process: subprocess.Popen[bytes]) -> Run:
    """Wait for a process; return its CPU seconds, and how many threads of it and its children ran at each look."""
    of_processes: dict[int, float] = {}
    running = []
    while process.poll() is None:
        time.sleep(SAMPLE_SECONDS)
        processes = machine.tree(process.pid)
        for each in processes:  # one that has ended in the meantime has none any more
            of_processes[each] = max(of_processes.get(each, 0.0), machine.cpu_seconds([each]))
        running.append(machine.running_threads(processes))
    return {"cpu_seconds": sum(of_processes.values()), "running": running}


def table(runs: list[Run]) -> str:
    """Return a row for each number of workers, in Markdown."""
    header = [
        "workers",
        "seconds in all (range)",
        "CPU seconds",
        "looks that found more threads than cores",
        "cores kept by others",
    ]
    rows = []
    for workers in (1, 2):
        of_workers = [run for run in runs if run["workers"] == workers]
        seconds = [run["seconds"] for run in of_workers]
        running = [count for run in of_workers for count in run["running"]]
        rows.append(
            [
                str(workers),
                f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
                f"{statistics.median(run['cpu_seconds'] for run in of_workers):.1f}",
                f"{sum(count > devices.cores() for count in running)} of {len(running)}",
                f"{statistics.median(run['others'] for run in of_workers):.2f}",
            ]
        )
    return markdown_table(header, rows)


if __name__ == "__main__":
    main()
