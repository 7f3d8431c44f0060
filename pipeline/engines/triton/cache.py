"""Where Triton keeps compiled kernels for later processes."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path

import triton

from pipeline.files import loaded_sources


def use_folder() -> Path:
    """Have Triton keep kernels in a folder for the sources as loaded, and return it.

    It is in ``TRITON_CACHE_DIR`` if that is set, otherwise in ``.cache/triton`` beside the package; where it cannot be
    written, it is a folder that ends with the process. Its name holds a digest of all sources of the engine: Triton
    itself does not see an edited property of a `Shape`.
    """
    chosen = os.environ.get("TRITON_CACHE_DIR")
    root = Path(chosen) if chosen else Path(__file__).parents[3] / ".cache" / "triton"
    name = f"kernels-{hashlib.sha256(loaded_sources.sources_of(__package__, but='engine')).hexdigest()[:16]}"
    # Triton writes its setting to the environment, where the next call finds it, and so does another process.
    folder = root if root.name == name else root / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        folder = Path(_temporary_folder().name)
    triton.knobs.cache.dir = str(folder)
    return folder


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="triton-")
