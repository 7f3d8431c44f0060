"""Compile a network's kernels for a GPU, with or without one, and print a line of JSON for each launch.

Run ``python -m tests.compiled_kernels NETWORK CAPABILITY [IMAGES[,IMAGES...] [PRECISION]]``, with a declared network,
one of `fused_networks` or the seed of a random one; 90 for an H100; and the images of each step, at first the most. A
forward pass follows. The line has the kernel, its programs, the warps and shared memory of a program, a thread's
registers and bytes of stack, which spilled registers take, how many instructions take a maximum but lose nan, and the
bytes that each line of the source takes at once.
"""

from __future__ import annotations

import functools
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
from tests.fused_networks import NETWORKS, random_network

ACCESS = re.compile(
    r"\b(ld|st)\.global(?:\.v(\d))?\.b(\d+)|\bcp\.async\.c[ag]\.shared\.global \[[^]]*\], \[[^]]*\], 0x(\w+)"
)
UNKNOWN = re.compile(r"\b(ld|st|atom|red)\.global|\bcp\.async\S*\.global")


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
        programs = int(np.prod(grid))
        row = {"kernel": name_of(kernel.fn), "programs": programs, "warps": compiled.metadata.num_warps}
        row |= {"shared": compiled.metadata.shared, **usage(compiled), **instructions(compiled.asm["ptx"])}
        sys.stdout.write(json.dumps(row) + "\n")

    return launch


def name_of(function):
    """Return the name of a kernel, such as "dense.forward"."""
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def instructions(ptx):
    """Return what the instructions of a kernel show."""
    return {"loses_nan": len(re.findall(r"\bmax\.f32", ptx)), "widths": widths(ptx)}


def widths(ptx):
    """Return the most bytes that each line of the source takes at once, by names such as "st dense.py:61"."""
    found, line = {}, None
    for text in ptx.splitlines():
        if location := re.match(r"\s*\.loc\s.*// (\w+\.py:\d+)", text):
            line = location[1]
        elif access := ACCESS.search(text):
            kind, values, bits, copied = access.groups()
            size = int(copied, 16) if copied else int(values or 1) * int(bits) // 8
            name = f"{kind or 'ld'} {line}"
            found[name] = max(size, found.get(name, 0))
        else:
            assert not UNKNOWN.search(text), f"an access to memory of unknown width: {text}"
    return found


@functools.cache
def usage(compiled):
    """Return what CUDA's own tool says of a compiled kernel."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    registers, stack, local = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", said).groups()
    return {"registers": int(registers), "stack": int(stack) + int(local)}


def find(name):
    """Return the network of a name, or of a seed."""
    if name.isdecimal():
        return random_network(int(name))
    return NETWORKS[name] if name in NETWORKS else Network.build(find_network(name).architecture, classes=10)


def main(name, capability, images="128", precision="ieee"):
    sizes = [int(size) for size in images.split(",")]
    driver.set_active(NoGPU(int(capability)))
    JITFunction.__getitem__ = compile_only
    network = find(name)
    hyperparameters = Hyperparameters(learning_rate=0.01, momentum=0.9, epochs=1)
    examples = Examples(np.zeros((sizes[0], *network.input_shape), np.float32), np.zeros(sizes[0], np.uint8))
    weights = draw_weights(network, 1)
    parameters = Parameters(weighted_layers(network, "triton"), weights, None, "cpu", ON_GPU.updated)
    data = on_device(examples, parameters.is_convolutional, "cpu")
    steps = Steps(parameters, data, sizes[0], precision, ON_GPU)
    for size in sizes:
        steps.step(size, hyperparameters, steps.blocks(size))
    steps.logits(sizes[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
