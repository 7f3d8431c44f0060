"""Measure the kernels of a training step of the triton engine, with other blocks too, to find the fastest for a GPU.

`pipeline.engines.triton.blocks` has the blocks that were chosen on an H100. Each row of the table changes one of them,
or the precision. A column is a kernel, in the order of a step: the median time of its launches in an epoch, in us.

Run it with ``python bench/blocks.py``, on a machine with a GPU.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from alternatives.work import Work
from check_gpu.step_profile import begin_profiler, kernels_of_a_step, profiled
from measuring import machine, shown
from measuring.shown import markdown_table
from pipeline.engines import devices
from pipeline.engines.engine import load_engine
from pipeline.errors import PipelineError

OTHERS = {
    "programs": (132, 528),
    "weight_programs": (66, 264),
    "sums": (1024, 4096),
    "columns": (16, 64),
    "weights": (32, 128),
    "summed": (512, 2048),
    "updated": (32, 128, 256),
}
"""Other values of the fields of `Blocks`."""


def main() -> None:
    """Measure, print a table of each network and write ``.cache/bench/blocks.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("mlp", "cnn"), help="one network (default: both)")
    options = parser.parse_args()
    try:
        devices.choose("triton", "cuda")
    except PipelineError as error:
        print(f"Nothing was measured: {error}")
        return
    begin_profiler()
    result: dict[str, Any] = {"machine": machine.description()}
    for network in [options.network] if options.network else ["mlp", "cnn"]:
        work = Work.read(network, None, None, devices.cores())
        result[network] = rows = [measured(name, work, settings) for name, settings in variants()]
        kernels = list(rows[0]["kernels"])
        table = [[row["name"], *row["kernels"].values(), row["step"]] for row in rows if "step" in row]
        print(f"\n{markdown_table([network, *kernels, 'a step'], table)}")
        print(*(f"{row['name']}: {row['problem']}" for row in rows if "problem" in row), sep="\n")
    shown.keep("blocks", result)


def variants() -> list[tuple[str, dict[str, Any]]]:
    """Return names, and settings of the engine: its own, with one other block, and with the other precision."""
    from pipeline.engines.triton.blocks import ON_GPU

    others = [
        (f"{field} {value}, not {getattr(ON_GPU, field)}", {"blocks": replace(ON_GPU, **{field: value})})
        for field, values in OTHERS.items()
        for value in values
    ]
    return [("as it is", {}), *others, ("tf32x3, not ieee", {"precision": "tf32x3"})]


def measured(name: str, work: Work, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the time of a step by a clock, and of each of its kernels, or why there is none."""
    try:
        trainer = load_engine("triton", "cuda", **settings).trainer(work.training())
    except PipelineError as error:  # blocks that do not fit into this GPU's shared memory
        return {"name": name, "problem": str(error)}
    steps = -(-len(work.train) // work.how.batch_size)
    step, found = profiled(trainer, steps)
    return {"name": name, "step": step, "kernels": kernels_of_a_step(found, steps)}


if __name__ == "__main__":
    main()
