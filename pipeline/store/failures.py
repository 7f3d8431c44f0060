"""Explain why a stage failed: the disk is full, memory ran out, or its folder was removed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.errors import NO_SPACE, PipelineError, StoreError
from pipeline.store.stage import Stage

MARGIN = 64 << 10
"""Bytes for the record of a result (some kilobytes), and for blocks of the disk that are only partly filled."""

OUT_OF_MEMORY = ("can't allocate memory", "Cannot allocate memory", "failed to map segment", "can't start new thread")
"""Messages of PyTorch, the system and its loader in errors other than `MemoryError`."""


@contextlib.contextmanager
def explained(stage: Stage, needed: int | None = None, growing: Sequence[Path] = ()) -> Iterator[None]:
    """Replace errors of a full disk, of memory and of removed folders by one that names the stage and the remedy.

    Parameters
    ----------
    needed : int, optional
        Bytes that the block writes at most; they must be free before it begins.
    growing : sequence of Path
        The folders that it writes to; bytes in them already are part of ``needed``.

    Raises
    ------
    StoreError
        In place of the error that the block raised.
    """
    try:
        if needed is not None and _available(stage, growing) < needed + MARGIN:
            raise StoreError(f"{stage.name}: {_too_little_space(stage, 'the disk is too small', needed, growing)}")
        yield
    except StoreError:
        raise
    except (ImportError, MemoryError, OSError, PipelineError, RuntimeError) as error:
        if explanation := _explanation(stage, error, needed, growing):
            raise StoreError(f"{stage.name}: {explanation}") from None
        raise


def _explanation(stage: Stage, error: Exception, needed: int | None, growing: Sequence[Path]) -> str | None:
    is_explained = isinstance(error, PipelineError) and needed is None
    if (why := _full_disk(error)) and not is_explained:
        if (available := _available(stage, growing)) < (needed or 0) + MARGIN:
            return _too_little_space(stage, f"the disk is full ({why})", needed, growing)
        return (
            f"{why}, but {_amount(available)} are free in {stage.path.parent}. "
            "Look for a limit on files (ulimit -f), a quota, or a full disk of temporary files (TMPDIR), and run the "
            "same command again: finished stages are kept."
        )
    if _is_out_of_memory(error):
        return _out_of_memory(stage, error)
    if growing and not growing[0].exists() and _was_missing(error):
        return (
            f"the folder {growing[0]} was removed while the stage was at work. "
            "Run the same command again: finished stages that are still there are kept."
        )
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]
        return f"{reason} ({error.filename or stage.temporary})"
    return None


def _too_little_space(stage: Stage, problem: str, needed: int | None, growing: Sequence[Path]) -> str:
    size = f"its result needs up to {_amount(needed + MARGIN)}, and finds" if needed is not None else "it finds"
    return (
        f"{problem}: {size} {_amount(_available(stage, growing))} in {stage.path.parent}. "
        "Make room, for example with `make gc`, and run the same command again: finished stages are kept."
    )


def _available(stage: Stage, growing: Sequence[Path]) -> int:
    """Return the number of bytes that are free for a stage or already written by it."""
    return shutil.disk_usage(stage.path.parent).free + _size_of_files(growing)


def _size_of_files(folders: Iterable[Path]) -> int:
    return sum(file.stat().st_size for folder in folders if folder.is_dir() for file in folder.iterdir())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those during whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__context__


def _was_missing(error: Exception) -> bool:
    return any(isinstance(cause, OSError) and cause.errno == errno.ENOENT for cause in _causes(error))


def _full_disk(error: BaseException) -> str | None:
    """Return the system's message of a full disk, where that caused an error."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            return os.strerror(cause.errno)
        if os.strerror(errno.ENOSPC) in str(cause) and not isinstance(cause, PipelineError):  # HDF5, closing a file
            return os.strerror(errno.ENOSPC)
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    return not isinstance(error, PipelineError) and any(map(_is_lack_of_memory, _causes(error)))


def _is_lack_of_memory(cause: BaseException) -> bool:
    return (
        isinstance(cause, MemoryError)
        or type(cause).__name__ == "OutOfMemoryError"  # of PyTorch on a GPU
        or getattr(cause, "errno", None) == errno.ENOMEM
        or any(text in str(cause) for text in OUT_OF_MEMORY)
    )


def _out_of_memory(stage: Stage, error: BaseException) -> str:
    inputs = _size_of_files(source.path for source in stage.inputs.values())
    cause = next(filter(_is_lack_of_memory, _causes(error)))  # llvmlite, for one, raises an error that hides it
    first_line = str(cause).partition("\n")[0].rstrip(".") or "nothing more is known"
    return (
        f"out of memory ({first_line}). Its inputs take {_amount(inputs)}, and the computation takes more. "
        "End other programs, raise the limit (ulimit -v), or take --workers 1, then run the same command again."
    )


def _amount(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 10_000_000 else f"{size / 1e3:,.0f} kB"
