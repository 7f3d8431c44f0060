"""Compute each convolution of the article's CNN in both layouts of memory, with PyTorch.

The torch engine lays images out with their channels last. There, an image of one grey must give one value a filter,
or ties break, and a second computation must give the same bits; what other layouts give is only reported.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable

import torch
from torch import Tensor

from check_gpu.plan import Plan, figure
from pipeline.engines.cuda.graphs import cuda_graphs
from pipeline.engines.torch.engine import set_cuda_numerics

SHAPES = ((1, 32, 16, 3), (16, 15, 32, 2), (32, 7, 64, 2))
"""Channels, rows, filters and filter size of each convolution."""

LAYOUTS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}
OF_THE_ENGINE = "channels last"
PARTS = {"input": (True, False, False), "weight": (False, True, False), "all": (True, True, True)}

LAUNCHES, REPLAYS = 20, 10


def main() -> None:
    """Report each convolution; fail if the engine's layout breaks ties or gives other bits."""
    plan = Plan.read()
    set_cuda_numerics("float32")
    broken = []
    for layout in LAYOUTS:
        for shape in SHAPES:
            name = f"{layout}, {shape[0]} to {shape[2]}, {shape[3]}x{shape[3]}"
            is_flat, is_same = report(name, layout, shape, plan)
            if layout == OF_THE_ENGINE and not (is_flat and is_same):
                broken.append(f"{name}: {'' if is_flat else 'flat breaks. '}{'' if is_same else 'other bits.'}")
    if broken:
        sys.exit("; ".join(broken))
    print(f"{OF_THE_ENGINE}: flat stays flat, and the bits are the same")


def report(name: str, layout: str, shape: tuple[int, int, int, int], plan: Plan) -> tuple[bool, bool]:
    """Report a convolution; return whether flat stays flat, and whether a second time gives the same bits."""
    channels, rows, filters, size = shape
    count = 8 if plan.is_trial else 128
    torch.manual_seed(1)
    images = arranged(torch.rand(count, channels, rows, rows) - 0.5, layout, plan)
    weight = arranged(torch.randn(filters, channels, size, size) / 10, layout, plan)
    bias = torch.randn(filters).to(plan.device)
    result = torch.conv2d(images, weight, bias)
    gradient = torch.randn_like(result)
    flat = torch.conv2d(torch.full_like(images, 0.3137), weight, bias)
    is_flat = torch.equal(flat.amax((2, 3)), flat.amin((2, 3)))
    once, again = ([torch.conv2d(images, weight, bias), *backward(gradient, images, weight, "all")] for _ in range(2))
    is_same = all(map(torch.equal, once, again))
    exact = torch.conv2d(images.double(), weight.double(), bias.double())
    figure(
        name,
        **{"flat stays flat": is_flat, "same bits": is_same, "error": f"{(result - exact).norm() / exact.norm():.1e}"},
        forward_us=microseconds(lambda: torch.conv2d(images, weight, bias), plan),
        input_gradient_us=microseconds(lambda: backward(gradient, images, weight, "input"), plan),
        weight_gradient_us=microseconds(lambda: backward(gradient, images, weight, "weight"), plan),
    )
    return is_flat, is_same


def arranged(values: Tensor, layout: str, plan: Plan) -> Tensor:
    """Put values on the device, in a layout; one channel alone shows its layout by its strides only."""
    if layout == OF_THE_ENGINE:
        return values.movedim(1, -1).contiguous().to(plan.device).movedim(-1, 1)
    return values.contiguous().to(plan.device)


def backward(gradient: Tensor, images: Tensor, weight: Tensor, part: str) -> list[Tensor]:
    """Compute gradients as the torch engine does."""
    results = torch.ops.aten.convolution_backward(
        gradient, images, weight, [len(weight)], (1, 1), (0, 0), (1, 1), False, (0, 0), 1, PARTS[part]
    )
    return [result for result in results if result is not None]


def microseconds(action: Callable[[], object], plan: Plan) -> float:
    """Return the time of an action, on a GPU in the midst of a CUDA graph."""
    if plan.is_trial:
        return round(1e6 * timeit.timeit(action, number=1), 2)

    def launch() -> None:
        for _ in range(LAUNCHES):
            action()

    def replay_all() -> None:
        for _ in range(REPLAYS):
            replay()
        torch.cuda.synchronize()

    replay = cuda_graphs([])(launch)
    replay_all()
    return round(1e6 * timeit.timeit(replay_all, number=1) / (LAUNCHES * REPLAYS), 2)


if __name__ == "__main__":
    main()
