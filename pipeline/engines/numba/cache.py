"""The folder in which compiled kernels outlive the process that compiled them.

Numba writes and reads the files; it believes whatever they hold, and the code in a damaged one may end the process.
So a list of digests is kept beside them, and a folder that differs from its list is emptied.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numba
from llvmlite import binding
from numba.core.caching import UserProvidedCacheLocator

from pipeline.files import loaded_sources

DIGESTS_NAME = "digests.json"
LOCK_NAME = "lock"


class KernelLocator(UserProvidedCacheLocator):  # type: ignore[misc]
    """Numba's rule for the folder of a module, without the path of the checkout.

    The digest in the name of `folder` covers the sources, so checkouts that share ``NUMBA_CACHE_DIR`` share kernels.
    """

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        return Path(py_file).stem


def folder() -> Path:
    """Return the folder, one for each state of the kernels' sources as loaded, each processor, Python and Numba.

    It lies in ``NUMBA_CACHE_DIR`` where that is set, in ``.cache/numba`` beside the package otherwise. Numba
    itself compares only the file of an entry point with what it kept, not the files of the kernels in it.
    """
    package = Path(__file__).parent
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(chosen) if chosen else package.parents[2] / ".cache" / "numba"
    features = binding.get_host_cpu_features().flatten()
    made_for = (binding.get_host_cpu_name(), features, sys.version, numba.__version__)
    digest = hashlib.sha256(repr(made_for).encode())
    for name, (_, loaded) in sorted(loaded_sources.SOURCES.items()):
        if name.startswith(f"{__package__}.") and name != f"{__package__}.engine":
            digest.update(b"".join(loaded))
    return root / f"kernels-{digest.hexdigest()[:16]}"


def holds(name: str) -> bool:
    """Whether the folder holds the compiled function of this name, ``module.function``."""
    return any(Path(file).name.startswith(f"{name}-") for file in _listed(folder()))


@contextlib.contextmanager
def opened() -> Iterator[Path | None]:
    """Have the folder for this process alone, with nothing damaged in it; None where nothing can be kept.

    What another process compiles meanwhile, this one waits for and then finds there.
    """
    place = folder()
    with contextlib.ExitStack() as stack:
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((place / LOCK_NAME).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            _empty_if_damaged(place)
        except OSError:
            yield None
            return
        yield place
        with contextlib.suppress(OSError):
            _list(place)


def _empty_if_damaged(place: Path) -> None:
    if _listed(place) != _digests(place):
        for path in place.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK_NAME:
                path.unlink()


def _list(place: Path) -> None:
    digests = _digests(place)
    if digests != _listed(place):
        (place / DIGESTS_NAME).write_text(json.dumps(digests))


def _listed(place: Path) -> dict[str, str]:
    """Return the digests of the files as they were written, by name; of none where there is no such list."""
    try:
        listed = json.loads((place / DIGESTS_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return listed if isinstance(listed, dict) else {}


def _digests(place: Path) -> dict[str, str]:
    """Return the digests of the files as they are now."""
    files = sorted(path for path in place.glob("*/*") if path.is_file())
    return {str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
