"""Check that PyTorch finds a GPU, and give back the memory of a training."""

from __future__ import annotations

import contextlib

import torch

from pipeline.engines.engine import Trainer
from pipeline.errors import DeviceError


def check_cuda() -> None:
    """Raise `DeviceError` if PyTorch cannot compute on a GPU."""
    if torch.cuda.is_available():
        return
    build = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
    raise DeviceError(
        f"device is cuda, but PyTorch {torch.__version__} ({build}) finds no usable GPU. "
        "Look at the output of `nvidia-smi`, or use --device cpu."
    )


class TensorTrainer(Trainer):
    """A trainer with tensors on a device.

    Nothing that it holds may refer to it, so that it dies with its last reference, not when Python's collector runs.
    """

    def __init__(self, device: str) -> None:
        self._device = device

    def close(self) -> None:
        """Free all memory, a GPU's for other processes too, except for the libraries' own."""
        on_cuda = vars(self).get("_device") == "cuda"
        vars(self).clear()
        if on_cuda:
            with contextlib.suppress(RuntimeError):  # a GPU that has failed frees memory when the process ends
                torch.cuda.empty_cache()

    def __del__(self) -> None:
        self.close()
