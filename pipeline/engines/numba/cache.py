"""Keep compiled kernels for later processes.

Numba writes and reads the files without a check, and the code in a damaged file may crash the process. So the folder
holds a list of the files' digests, and a folder that differs from its list is emptied.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numba
from llvmlite import binding
from numba.core.caching import UserProvidedCacheLocator

from pipeline.engines import kernel_folder
from pipeline.files import loaded_sources

LOCK_NAME = "lock"


class KernelLocator(UserProvidedCacheLocator):  # type: ignore[misc]
    """Numba's rule for the folder of a module, without the path of the checkout.

    The digest in the name of `folder` covers the sources, so checkouts that share ``NUMBA_CACHE_DIR`` share kernels.
    """

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        return Path(py_file).stem


def folder() -> Path:
    """Return the folder for the kernels' sources as loaded, this processor, this Python and this Numba.

    It is in `kernel_folder.root`. Its name holds a digest of all sources, because Numba itself compares only the file
    of an entry point, not those of its kernels.
    """
    features = binding.get_host_cpu_features().flatten()
    made_for = (binding.get_host_cpu_name(), features, sys.version, numba.__version__)
    digest = hashlib.sha256(repr(made_for).encode())
    digest.update(loaded_sources.sources_of(__package__, but="engine"))
    return kernel_folder.root() / f"kernels-{digest.hexdigest()[:16]}"


def holds(name: str) -> bool:
    """Check whether the folder holds the compiled function ``module.function``."""
    return any(Path(file).name.startswith(f"{name}-") for file in _listed(folder()))


@contextlib.contextmanager
def opened() -> Iterator[Path | None]:
    """Lock the folder and empty it if a file is damaged; yield None if it cannot be written.

    A process that compiles at the same time is waited for, and its result is in the folder.
    """
    path = folder()
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((path / LOCK_NAME).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            _empty_if_damaged(path)
        except OSError:
            yield None
            return
        yield path
        with contextlib.suppress(OSError):
            _write_list(path)


def _empty_if_damaged(folder: Path) -> None:
    if _listed(folder) != _digests(folder):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK_NAME:
                path.unlink()


def _write_list(folder: Path) -> None:
    digests = _digests(folder)
    if digests != _listed(folder):
        (folder / kernel_folder.LIST_NAME).write_text(json.dumps(digests))


def _listed(folder: Path) -> dict[str, str]:
    """Return the digests of the files as they were written, by name; none if the list is missing or unreadable."""
    try:
        listed = json.loads((folder / kernel_folder.LIST_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return listed if isinstance(listed, dict) else {}


def _digests(folder: Path) -> dict[str, str]:
    """Return the digests of the files as they are now, by name."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
