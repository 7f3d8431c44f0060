"""Compile the kernels of a training step for a GPU, with or without one, and print a line of JSON for each launch.

Run ``python -m tests.compiled_kernels NETWORK CAPABILITY [BATCH [PRECISION]]``, with a declared network or one of
`fused_networks`, and 90 for an H100. The line has the kernel, its programs, the warps and shared memory of a
program, a thread's registers and bytes of stack, which spilled registers take, how many instructions take a maximum but
lose nan, and the values that the widest read from memory takes at once.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from pipeline.engines.engine import Examples
from pipeline.engines.fused import weighted_layers
from pipeline.engines.triton.blocks import ON_GPU
from pipeline.engines.triton.minibatches import on_device
from pipeline.engines.triton.parameters import Parameters
from pipeline.engines.triton.passes import Steps
from pipeline.networks.declaration import Hyperparameters, Network
from pipeline.networks.declared import find_network
from pipeline.networks.weights import draw_weights
from tests.fused_networks import NETWORKS


class NoGPU:
    """What Triton asks of a driver before it compiles."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)


def compile_only(kernel, grid):
    """Stand in for a launch."""

    def launch(*arguments, **options):
        compiled = kernel.run(*arguments, grid=grid, warmup=True, **options)
        name = f"{kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}"
        programs = int(np.prod(grid))
        row = {"kernel": name, "programs": programs, "warps": compiled.metadata.num_warps}
        row |= {"shared": compiled.metadata.shared, **usage(compiled), **instructions(compiled.asm["ptx"])}
        sys.stdout.write(json.dumps(row) + "\n")

    return launch


def instructions(ptx):
    """Return what the instructions of a kernel show."""
    copied = re.findall(r"cp\.async\.c[ag]\.shared\.global \[[^]]*\], \[[^]]*\], 0x(\w+)", ptx)
    loaded = re.findall(r"ld\.global\.v(\d)", ptx)
    widest = max([1, *map(int, loaded), *(int(size, 16) // 4 for size in copied)])
    return {"loses_nan": len(re.findall(r"\bmax\.f32", ptx)), "widest_read": widest}


def usage(compiled):
    """Return what CUDA's own tool says of a compiled kernel."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    registers, stack, local = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", said).groups()
    return {"registers": int(registers), "stack": int(stack) + int(local)}


def main(name, capability, batch=128, precision="ieee"):
    batch = int(batch)
    driver.set_active(NoGPU(int(capability)))
    JITFunction.__getitem__ = compile_only
    network = NETWORKS[name] if name in NETWORKS else Network.build(find_network(name).architecture, classes=10)
    hyperparameters = Hyperparameters(learning_rate=0.01, momentum=0.9, epochs=1)
    examples = Examples(np.zeros((batch, *network.input_shape), np.float32), np.zeros(batch, np.uint8))
    weights = draw_weights(network, 1)
    parameters = Parameters(weighted_layers(network, "triton"), weights, None, "cpu", ON_GPU.updated)
    data = on_device(examples, parameters.is_convolutional, "cpu")
    steps = Steps(parameters, data, batch, precision, ON_GPU)
    steps.step(batch, hyperparameters, steps.blocks(batch))


if __name__ == "__main__":
    main(*sys.argv[1:])
