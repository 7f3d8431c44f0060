"""Turn errors of Triton, which compiles kernels when they are first used, into errors that say what to do next."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from triton import CompilationError, OutOfResources
from triton.runtime.errors import PTXASError

from pipeline.engines.cuda import failures
from pipeline.errors import EngineError


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise `EngineError` or `DeviceError` where Triton or a device fails; as a ``with`` block or as a decorator."""
    with failures.explained():
        try:
            yield
        except OutOfResources as error:
            raise EngineError(
                f"a kernel for this network needs {error.required:,} bytes of {error.name}, and this GPU has "
                f"{error.limit:,}. Use --engine torch."
            ) from error
        except subprocess.CalledProcessError as error:
            raise EngineError(
                f"Triton cannot compile its launcher: {error.cmd[0]} ended with status {error.returncode}; its message "
                "is above. Name another C compiler in CC, or use --engine torch."
            ) from error
        except ImportError as error:  # the folder is on a file system of which nothing is executed
            raise EngineError(
                f"Triton cannot load what it compiled: {error}. Name a folder for it in TRITON_CACHE_DIR, or use "
                "--engine torch."
            ) from error
        except (CompilationError, PTXASError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0].rstrip(".")
            raise EngineError(f"Triton cannot compile a kernel: {reason}. Use --engine torch.") from error
