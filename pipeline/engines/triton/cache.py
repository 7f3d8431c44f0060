"""Where Triton keeps compiled kernels for later processes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import triton

from pipeline.files import loaded_sources


def use_folder() -> Path:
    """Have Triton keep kernels in a folder for the sources as loaded, and return it.

    It is in ``TRITON_CACHE_DIR`` if that is set, otherwise in ``.cache/triton`` beside the package. Its name holds a
    digest of all sources of the engine: Triton itself does not see an edited property of a `Shape`.
    """
    chosen = os.environ.get("TRITON_CACHE_DIR")
    root = Path(chosen) if chosen else Path(__file__).parents[3] / ".cache" / "triton"
    digest = hashlib.sha256(loaded_sources.sources_of(__package__, but="engine")).hexdigest()
    folder = root / f"kernels-{digest[:16]}"
    triton.knobs.cache.dir = str(folder)
    return folder
