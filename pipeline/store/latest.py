"""Link results in ``outputs/latest/``, and copy files of results into ``outputs/``, where people look for them."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from pipeline.files.whole_file import replacing
from pipeline.store import active_runs
from pipeline.store.stage import Stage


def point_latest(stage: Stage, latest: Path, run: str) -> None:
    """Let the link ``latest/NAME`` lead to a stage's result, on behalf of a run."""
    link = latest / stage.name
    target = os.path.relpath(stage.path.resolve(), latest.resolve())
    with contextlib.suppress(OSError):
        if str(link.readlink()) == target:
            return
    latest.mkdir(parents=True, exist_ok=True)
    with replacing(link, _temporary(link, run)) as temporary:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)


def copy_out(stage: Stage, name: str, folder: Path, run: str) -> None:
    """Copy one of a result's files into a folder, on behalf of a run.

    A link would break when the folder is copied, served or shared with Windows.
    """
    content = (stage.path / name).read_bytes()
    copy = folder / name
    with contextlib.suppress(FileNotFoundError):
        if copy.read_bytes() == content:
            return
    with replacing(copy, _temporary(copy, run)) as temporary:
        temporary.write_bytes(content)


def clear_leftovers(outputs: Path) -> None:
    """Remove the unfinished links and copies of killed runs."""
    for path in (*outputs.glob(".*"), *outputs.glob("latest/.*")):
        made = re.fullmatch(r"\..+\.([0-9a-f]{12})\.\d+", path.name)
        if made and not active_runs.is_under_way(outputs, made[1]):
            path.unlink(missing_ok=True)


def _temporary(path: Path, run: str) -> Path:
    """Return a temporary path that names the run, so that another machine can find out whether it is still in use."""
    return path.with_name(f".{path.name}.{run}.{os.getpid()}")
