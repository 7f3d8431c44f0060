"""What a stage says where the machine fails it: the disk is full, memory runs out, its folder is taken away."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import NO_SPACE, PipelineError, StoreError
from pipeline.store.stage import Stage

MARGIN = 64 << 10
"""Bytes for what the store writes itself beside a result, and for the blocks that a file system begins."""

OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "failed to map segment", "can't start new thread")
"""What PyTorch, the system and its loader say of it in errors that are no `MemoryError`."""


@contextlib.contextmanager
def explained(stage: Stage, needed: int | None = None, growing: Sequence[Path] = ()) -> Iterator[None]:
    """Name the stage, and what to do, where the block fails for want of room, memory or a folder.

    Parameters
    ----------
    needed : int, optional
        Bytes on the disk that the block takes at most; so many must be there before it begins.
    growing : sequence of Path
        The folders that it fills: what they hold already is part of ``needed``.

    Raises
    ------
    StoreError
        Instead of what the block raised.
    """
    try:
        if needed is not None and _found(stage, growing) < needed + MARGIN:
            raise _lacking(stage, "the disk is too small", needed, growing)
        yield
    except StoreError:
        raise
    except (ImportError, MemoryError, OSError, PipelineError, RuntimeError) as error:
        says_it_all = isinstance(error, PipelineError) and needed is None
        if (why := _full_disk(error)) and not says_it_all:
            raise _full(stage, why, needed, growing) from None
        if _is_out_of_memory(error):
            raise StoreError(f"{stage.name}: {_out_of_memory(stage, error)}") from None
        if growing and _is_for_want_of(growing[0], error):
            raise StoreError(
                f"{stage.name}: the folder {growing[0]} was removed while the stage was at work. "
                "Run the same command again: finished stages that are still there are kept."
            ) from None
        if isinstance(error, OSError):
            raise StoreError(f"{stage.name}: {_reason(error)} ({error.filename or stage.temporary})") from None
        raise


def _full(stage: Stage, why: str, needed: int | None, growing: Sequence[Path]) -> StoreError:
    if (found := _found(stage, growing)) < (needed or 0) + MARGIN:
        return _lacking(stage, f"the disk is full ({why})", needed, growing)
    return StoreError(
        f"{stage.name}: something is full ({why}), but not the disk: {_amount(found)} are left in {stage.path.parent}. "
        "Look for a limit on files (ulimit -f), a quota, or a full disk of temporary files (TMPDIR), and run the same "
        "command again: finished stages are kept."
    )


def _lacking(stage: Stage, what: str, needed: int | None, growing: Sequence[Path]) -> StoreError:
    asked = f"its result needs up to {_amount(needed + MARGIN)}, and finds" if needed is not None else "it finds"
    return StoreError(
        f"{stage.name}: {what}: {asked} {_amount(_found(stage, growing))} in {stage.path.parent}. "
        "Make room, for example with `make gc`, and run the same command again: finished stages are kept."
    )


def _found(stage: Stage, growing: Sequence[Path]) -> int:
    """Return the bytes that are free for a stage, or already taken by it."""
    files = [path for folder in growing if folder.is_dir() for path in folder.iterdir()]
    return shutil.disk_usage(stage.path.parent).free + sum(file.stat().st_size for file in files)


def _full_disk(error: BaseException | None) -> str | None:
    """Say how the system put it that a disk is full, where an error came of that."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return os.strerror(error.errno)
        if os.strerror(errno.ENOSPC) in str(error) and not isinstance(error, PipelineError):  # HDF5, closing a file
            return os.strerror(errno.ENOSPC)
        error = error.__context__
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # of PyTorch on a GPU
    return known or (
        not isinstance(error, PipelineError)
        and (getattr(error, "errno", None) == errno.ENOMEM or any(text in str(error) for text in OUT_OF_MEMORY))
    )


def _out_of_memory(stage: Stage, error: BaseException) -> str:
    inputs = sum(
        file.stat().st_size
        for source in stage.inputs.values()
        if source.path.is_dir()
        for file in source.path.iterdir()
    )
    first_line = str(error).partition("\n")[0].rstrip(".") or "nothing more is known"
    return (
        f"out of memory ({first_line}). What it reads takes {_amount(inputs)}, and what it computes with takes more. "
        "End other programs, raise the limit (ulimit -v), or take --workers 1, then run the same command again."
    )


def _is_for_want_of(folder: Path, error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOENT:
            return not folder.exists()
        error = error.__context__
    return False


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]


def _amount(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 10_000_000 else f"{size / 1e3:,.0f} kB"
