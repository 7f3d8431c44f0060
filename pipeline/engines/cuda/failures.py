"""Turn errors of PyTorch, and of CUDA under it, into errors that say what to do next."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import torch

from pipeline.engines.pytorch import RIGHT_BUILD
from pipeline.errors import DeviceError, EngineError, PipelineError


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise `EngineError` or `DeviceError` where a device fails; as a ``with`` block or as a decorator."""
    try:
        yield
    except RuntimeError as error:
        explanation = explain(error)
        if explanation is None:
            raise
        raise explanation from error


def explain(error: BaseException) -> PipelineError | None:
    """Return the error that explains one of PyTorch's, a sentence and the next step; None if no device failed.

    Of several errors the first explains: one in the middle of a CUDA graph's recording makes its end fail, too.
    """
    before = explain(error.__context__) if error.__context__ else None
    if before or not isinstance(error, RuntimeError):
        return before
    return next((explanation(str(error)) for words, explanation in EXPLANATIONS if re.search(words, str(error))), None)


def _main_memory(message: str) -> PipelineError:
    wanted = re.search(r"allocate (\d+) bytes", message)
    found_no = f"{int(wanted[1]):,} bytes" if wanted else "more"
    return EngineError(
        f"the memory is full: PyTorch found no {found_no}. Close other programs, "
        "take smaller minibatches (--TrainCNN-batch-size 64), or train one network at a time (--workers 1)."
    )


def _gpu_memory(message: str) -> PipelineError:
    wanted = re.search(r"Tried to allocate ([\d.]+ \w+)", message)
    found_no = wanted[1] if wanted else "more"
    return EngineError(
        f"the GPU's memory is full: PyTorch found no {found_no}. Close other programs on the "
        "GPU (`nvidia-smi` lists them), take smaller minibatches (--TrainCNN-batch-size 64), train one network at a "
        "time (--workers 1), or use --device cpu."
    )


def _no_kernels(_message: str) -> PipelineError:
    return DeviceError(
        f"PyTorch {torch.__version__} has no kernels for this GPU, only for "
        f"{' '.join(torch.cuda.get_arch_list()) or 'others'}; {RIGHT_BUILD}, if there is one. Or use --device cpu."
    )


def _in_use(_message: str) -> PipelineError:
    return DeviceError(
        "the GPU admits one process at a time, and another one has it. Wait until that one ends (`nvidia-smi` lists "
        "it), train one network at a time (--workers 1), allow more with `sudo nvidia-smi -c DEFAULT`, or use "
        "--device cpu."
    )


def _any_other(message: str) -> PipelineError:
    return EngineError(
        f"the GPU failed: {message.strip().splitlines()[0].rstrip('.')}. Look at the output of `nvidia-smi`, and try "
        "again, or use --device cpu."
    )


EXPLANATIONS: tuple[tuple[str, Callable[[str], PipelineError]], ...] = (
    ("DefaultCPUAllocator", _main_memory),
    ("out of memory|ALLOC_FAILED", _gpu_memory),
    ("no kernel image is available", _no_kernels),
    ("busy or unavailable", _in_use),
    ("CUDA|CUBLAS|CUDNN|cuDNN|NVIDIA|Unable to find an engine", _any_other),
)
"""From words in a message to the error that explains it. Other messages are those of a bug, which needs a traceback."""
