"""Replace files as a whole, so that no reader finds half a file, and remove files and folders."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.files.paths import kind_unless_regular


@contextlib.contextmanager
def replacing(path: Path, temporary: Path | None = None, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path beside ``path``: the file written there replaces that at ``path`` when the block succeeds.

    The new file keeps the old file's permissions. A link at ``path`` is replaced, not followed. After an error the file
    at the yielded path is removed.

    Parameters
    ----------
    temporary : Path, optional
        The path to yield (default: a hidden name that contains the process id).
    durable : bool
        Sync the new file to the disk first, so that after a power cut there is the old content or the new.
    """
    temporary = temporary or path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_file() and not path.is_symlink():
            temporary.touch(0o600)
            temporary.chmod(path.stat().st_mode)
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(
    path: Path, error: type[PipelineError], *, make_folder: bool = True, durable: bool = False
) -> Iterator[Path]:
    """Replace a file that the user named, as `replacing` does; a link is followed.

    A missing folder is made, unless ``make_folder`` is false. An error of the given type is raised where the path
    leads to a folder, a pipe or a device, or the file cannot be written.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            if kind := kind_unless_regular(path):
                raise error(f"{path} is {kind}; expected the name of a file, which is written or replaced.")
        target = Path(os.path.realpath(path))
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, durable=durable) as temporary:
            yield temporary
    except (OSError, ValueError) as failure:  # ValueError: the name has a null character
        reason = getattr(failure, "strerror", None) or failure
        raise error(f"{path} cannot be written ({reason}). Check its folder and its disk.") from None


def write_text(path: Path, text: str, error: type[PipelineError]) -> None:
    """Replace a text file that the user named, as `writing` does."""
    with writing(path, error) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Wait until a file, or the list of a folder's entries, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a folder with its content, a file, or a link but not its target; do nothing where there is none."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
