"""Show what the time of a training step is spent on: the kernels of an epoch, by PyTorch's profiler."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from alternatives.work import Work
from check_gpu.plan import Plan, figure
from pipeline.engines import devices
from pipeline.engines.engine import Trainer, load_engine

MOST = 14
"""Kernels to report of each engine and network, those that take longest."""

LEAST = 0.1
"""Microseconds of a step from which a kernel is reported."""


def main() -> None:
    """Profile each engine and network."""
    plan = Plan.read()
    if not plan.is_trial:
        begin_profiler()
    for network in ("mlp", "cnn"):
        work = Work.read(network, plan.images, None, devices.cores())
        for engine in plan.engines:
            profile_epoch(f"{network} {engine}", work, engine, plan)
    print("microseconds a training step, launches a step")


def begin_profiler() -> None:
    """Load the profiler before a CUDA graph is recorded, and keep it: it fails on graphs that are older than itself."""
    os.environ["TEARDOWN_CUPTI"] = "0"
    with profile(activities=[ProfilerActivity.CUDA]):
        torch.zeros(1, device="cuda")
        torch.cuda.synchronize()


def profile_epoch(name: str, work: Work, engine: str, plan: Plan) -> None:
    """Report the time of a step as a clock shows it, and as the sum of its kernels; then each kernel."""
    trainer = load_engine(engine, plan.device, work.threads).trainer(work.training())
    steps = -(-len(work.train) // work.how.batch_size)
    step_us, found = profiled(trainer, steps, ProfilerActivity.CPU if plan.is_trial else ProfilerActivity.CUDA)
    kernels = sorted(found.key_averages(), key=lambda kernel: time_of(kernel, plan), reverse=True)
    total = sum(time_of(kernel, plan) for kernel in kernels)
    if not total:
        sys.exit(f"{name}: the profiler saw no kernel")
    launches = sum(kernel.count for kernel in kernels if time_of(kernel, plan))
    figure(
        name,
        step_us=step_us,
        kernels_us=round(total / steps, 2),
        launches=round(launches / steps, 1),
    )
    if not plan.is_trial and (by_place := kernels_of_a_step(found, steps)):
        figure(f"{name}, in the order of a step", **by_place)
    for kernel in kernels[:MOST]:
        own = time_of(kernel, plan)
        if own / steps < LEAST:
            break
        share = f"{own / total:.0%}"
        figure(
            f"{name} {kernel.key[:80]}", us=round(own / steps, 2), share=share, launches=round(kernel.count / steps, 2)
        )


def profiled(trainer: Trainer, steps: int, activity: ProfilerActivity = ProfilerActivity.CUDA) -> tuple[float, Any]:
    """Train three epochs; return the time of a step in the second one, in us, and what is found in the third.

    The trainer is closed then.
    """
    trainer.train_epoch(lambda _: None)
    start = time.perf_counter()
    trainer.train_epoch(lambda _: None)
    step_us = round(1e6 * (time.perf_counter() - start) / steps, 2)
    with profile(activities=[activity]) as found:
        trainer.train_epoch(lambda _: None)
        if activity == ProfilerActivity.CUDA:
            torch.cuda.synchronize()
    trainer.close()
    return step_us, found


def kernels_of_a_step(found: Any, steps: int) -> dict[str, float]:
    """Return the median time of each launch of a step, in us; none if there are over `MOST`, or not in each step."""
    launches = sorted(
        (event.start_ns(), event.name(), event.duration_ns() / 1000)
        for event in found.profiler.kineto_results.events()
        if "CUDA" in str(event.device_type())
    )
    of_a_step = Counter(name for _, name, _ in launches)
    launches = [launch for launch in launches if of_a_step[launch[1]] >= steps]
    places, rest = divmod(len(launches), steps)
    if rest or places > MOST:
        return {}
    return {
        f"{place + 1} {launches[place][1]}": round(statistics.median(us for _, _, us in launches[place::places]), 2)
        for place in range(places)
    }


def time_of(kernel: Any, plan: Plan) -> float:
    """Return the microseconds of all launches of a kernel."""
    return float(kernel.self_cpu_time_total if plan.is_trial else kernel.self_device_time_total)


if __name__ == "__main__":
    main()
