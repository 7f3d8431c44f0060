"""Measure luigid: how it serves ten and a hundred workers of a sweep.

A real luigid on loopback, and workers that compute nothing: each sends what a worker of the pipeline sends, by Luigi's
own client. A worker adds all stages, as every machine does that gives the command. When all have, one makes the images
that each training needs, while the others ask for work every second; then all make stages, each of the same seconds.

Workers and luigid share the cores of one machine, so luigid has less than one where they are busy.

Run it with ``python bench/luigid.py [--workers 10,100] [--points 500] [--seconds 10]``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

os.environ["LUIGI_CONFIG_PATH"] = str(Path(__file__).parents[1] / "luigid.cfg")  # Luigi reads it when it is imported

from luigi.rpc import RemoteScheduler, RPCError

from measuring import machine, shown
from measuring.shown import markdown_table

WORKERS_IN_A_PROCESS = 25
PAUSE = 1.0
"""Seconds between two pings, two reports of progress, and two questions for work where no stage is ready."""

WAITING_SECONDS, MAKING_SECONDS = 20, 40
PHASES = ("adding", "waiting", "making")

IMAGES = f"Grayscale2D_{'0' * 32}"
PARAMETERS = dict.fromkeys(("network", "on_engine", "on_device", "from_seed", "epochs", "learning_rate"), "1.25e-03")

Figures = dict[str, Any]
_all_added: Barrier


@dataclass(frozen=True)
class Call:
    """A call of luigid; times are in seconds of the system's clock."""

    method: str
    start: float
    seconds: float
    failed: bool


class Worker:
    """A worker that computes nothing: Luigi's calls in their order, and a thread that pings."""

    def __init__(self, url: str, name: str) -> None:
        self._name = name
        self._scheduler = RemoteScheduler(url)
        self._scheduler._rpc_retry_attempts = 1  # a call that fails is counted, and made again here
        self.calls: list[Call] = []

    def work(self, stages: dict[str, list[str]], seconds: float) -> list[Call]:
        """Add the stages, wait until all workers have, and make stages to the end of the measurement."""
        with self._pings():
            for stage, inputs in stages.items():
                self._add(stage, "PENDING", deps=inputs, priority=len(stages), params=PARAMETERS)
            self._call("add_worker", worker=self._name, info={"workers": 1, "host": "node"})
            _all_added.wait()
            end = time.monotonic() + WAITING_SECONDS + MAKING_SECONDS
            while time.monotonic() < end:
                work = self._call("get_work", worker=self._name, host="node", current_tasks=[])
                if stage := work["task_id"]:
                    self._make(stage, WAITING_SECONDS if stage == IMAGES else seconds)
                else:
                    time.sleep(PAUSE)
        return self.calls

    def _make(self, stage: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._call("set_task_progress_percentage", task_id=stage, progress_percentage=50)
            time.sleep(PAUSE)
        self._add(stage, "DONE", params=PARAMETERS)

    @contextlib.contextmanager
    def _pings(self) -> Iterator[None]:
        ended = threading.Event()

        def ping() -> None:
            while not ended.wait(PAUSE):
                self._call("ping", worker=self._name)

        thread = threading.Thread(target=ping)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _add(self, stage: str, status: str, **described: Any) -> None:
        family = stage.partition("_")[0]
        described |= {"worker": self._name, "family": family, "module": "tasks"}
        self._call("add_task", task_id=stage, status=status, **described)

    def _call(self, method: str, **arguments: Any) -> Any:
        """Call luigid until it answers."""
        while True:
            start = time.monotonic()
            try:
                answer = getattr(self._scheduler, method)(**arguments)
            except RPCError as error:
                if isinstance(error.sub_exception, HTTPError):  # luigid refuses the call
                    raise
                self.calls.append(Call(method, start, time.monotonic() - start, failed=True))
            else:
                self.calls.append(Call(method, start, time.monotonic() - start, failed=False))
                return answer


def sweep(points: int) -> dict[str, list[str]]:
    """Return the stages of a sweep, each with its inputs: a training and an evaluation for each point."""
    stages: dict[str, list[str]] = {IMAGES: []}
    for number in range(points):
        trained, evaluated = f"TrainCNN_{number:032}", f"EvaluateCNN_{number:032}"
        stages |= {trained: [IMAGES], evaluated: [trained, IMAGES]}
    return stages | {f"Sweep_{'0' * 32}": [name for name in stages if name.startswith("EvaluateCNN")]}


def share(all_added: Barrier) -> None:
    """Keep, in a process of workers, what these wait at."""
    global _all_added  # noqa: PLW0603, a barrier reaches other processes only when they start
    _all_added = all_added


def run_workers(url: str, names: list[str], points: int, seconds: float) -> list[Call]:
    """Run the workers of one process, each in a thread; return their calls."""
    stages = sweep(points)

    def run(name: str) -> list[Call]:
        try:
            return Worker(url, name).work(stages, seconds)
        except BaseException:
            _all_added.abort()
            raise

    with ThreadPoolExecutor(len(names)) as threads:
        return [call for calls in threads.map(run, names) for call in calls]


@contextlib.contextmanager
def luigid() -> Iterator[tuple[str, int]]:
    """Run luigid with the settings of luigid.cfg; return its URL and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("luigid")), "--address", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.kill()
            process.wait()


def measure(workers: int, points: int, seconds: float) -> dict[str, Any]:
    """Have workers share a sweep; return the figures of each phase."""
    names = [f"worker-{number}" for number in range(workers)]
    crews = [names[start : start + WORKERS_IN_A_PROCESS] for start in range(0, workers, WORKERS_IN_A_PROCESS)]
    context = multiprocessing.get_context("spawn")
    all_added = context.Barrier(workers + 1)
    looks: list[tuple[float, float]] = []
    with (
        luigid() as (url, server),
        ProcessPoolExecutor(len(crews), context, initializer=share, initargs=(all_added,)) as processes,
    ):
        look = lambda: looks.append((time.monotonic(), machine.cpu_seconds([server])))  # noqa: E731
        found = [processes.submit(run_workers, url, crew, points, seconds) for crew in crews]
        all_added.wait()
        look()
        for phase in (WAITING_SECONDS, MAKING_SECONDS):
            time.sleep(phase)
            look()
        memory = machine.peak_memory([server])
        calls = [call for each in found for call in each.result()]
    looks = [(min(call.start for call in calls), 0.0), *looks]
    return {
        "workers": workers,
        "stages": len(sweep(points)),
        "memory": memory,
        **{
            phase: figures([call for call in calls if start <= call.start < end], end - start, cpu - cpu_before)
            for phase, ((start, cpu_before), (end, cpu)) in zip(PHASES, itertools.pairwise(looks), strict=True)
        },
    }


def figures(calls: list[Call], seconds: float, cpu_seconds: float) -> Figures:
    """Reduce the calls of a phase to rates, the share of a core that luigid used, and seconds until it answered."""
    methods = sorted({call.method for call in calls})
    return {
        "seconds": seconds,
        "requests": len(calls) / seconds,
        "cpu": cpu_seconds / seconds,
        "failed": sum(call.failed for call in calls),
        "answers": {name: answers([call.seconds for call in calls if call.method == name]) for name in methods},
    }


def answers(seconds: list[float]) -> dict[str, float]:
    """Return the median, the 99th of a hundred, and the longest."""
    hundredths = statistics.quantiles([*seconds, *seconds], n=100, method="inclusive")
    return {"median": hundredths[49], "percentile_99": hundredths[98], "longest": hundredths[-1], "count": len(seconds)}


def table(runs: list[dict[str, Any]]) -> str:
    """Return a row for each phase, in Markdown."""
    header = ["workers", "phase", "requests/s", "luigid's CPU", "`get_work` (99%)", "`ping` (99%)", "no answer in 10 s"]
    return markdown_table(header, [row(run, phase) for run in runs for phase in PHASES])


def row(run: dict[str, Any], phase: str) -> list[str]:
    """Write the figures of a phase."""
    found = run[phase]
    name = f"all add {run['stages']:,} stages, {found['seconds']:.0f} s" if phase == "adding" else f"all are {phase}"
    return [
        f"{run['workers']:,}",
        name,
        f"{found['requests']:,.0f}",
        f"{found['cpu']:.0%} of a core",
        *(answer(found["answers"].get(method)) for method in ("get_work", "ping")),
        str(found["failed"]),
    ]


def answer(found: dict[str, float] | None) -> str:
    """Write the time until luigid answered."""
    return f"{1000 * found['median']:,.0f} ms ({1000 * found['percentile_99']:,.0f} ms)" if found else ""


def main() -> None:
    """Measure, print a table and write ``.cache/bench/luigid.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="10,100", help="numbers of workers (default: %(default)s)")
    parser.add_argument("--points", type=int, default=500, help="points of the sweep (default: %(default)d)")
    parser.add_argument("--seconds", type=int, default=10, help="seconds of a stage (default: %(default)d)")
    options = parser.parse_args()
    try:
        counts = [int(count) for count in options.workers.split(",")]
    except ValueError:
        parser.error(f"--workers is {options.workers!r}; expected whole numbers with commas between, as 10,100")
    load_before = machine.load()
    runs = []
    for workers in counts:
        runs.append(measure(workers, options.points, options.seconds))
        print(f"  {workers} workers: luigid had {shown.megabytes(runs[-1]['memory'])} of memory at most", flush=True)
    result = {"machine": machine.description(), "load_before": load_before, "load_after": machine.load(), "runs": runs}
    print(f"\n{table(runs)}")
    shown.keep("luigid", result)


if __name__ == "__main__":
    main()
