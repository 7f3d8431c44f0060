"""Export a trained network to the file formats of other programs.

Each module of this package, named as its format, has a function ``serialised`` that returns the bytes of the file.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from pipeline.errors import ExportError, did_you_mean
from pipeline.files.whole_file import writing
from pipeline.inference.trained_network import TrainedNetwork

FORMATS = ("onnx", "safetensors")
"""The values of ``--format``."""


def export(trained: TrainedNetwork, file_format: str, path: Path) -> None:
    """Write a trained network to a file, whole or not at all; a link is followed.

    Raises `ExportError` if no format has this name, a package that it needs is not installed, it has no equivalent of
    a layer, or the file is not a regular one or cannot be written.
    """
    if file_format not in FORMATS:
        raise ExportError(
            f"there is no format {file_format!r}; expected {' or '.join(FORMATS)}.{did_you_mean(file_format, FORMATS)}"
        )
    try:
        module = importlib.import_module(f"pipeline.inference.export.{file_format}")
    except ModuleNotFoundError as error:
        raise ExportError(
            f"the format {file_format} needs the package {error.name}, which is not installed. "
            f"Type `{sys.executable} -m pip install {error.name}`."
        ) from None
    content = module.serialised(trained)
    with writing(path, ExportError, make_folder=False, durable=True) as temporary:
        temporary.write_bytes(content)
