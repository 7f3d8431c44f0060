"""Keep the sources of this package's modules and tables as this process loaded them.

A process that runs for long, such as a notebook, may hold code that has been edited since; the store compares the two.

Python uses a compiled file if its source has the same size and changed in the same second, so that of two edits within
a second it may run the first. The loader here compares the content instead of the time.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]
DATA_SUFFIXES = (".css", ".csv", ".js")
"""Files in the package's folders that its modules read."""
SOURCES: dict[str, tuple[Path, list[bytes]]] = {}
"""The file and the loaded contents of each module, by its full name. A module that was loaded again has several
contents, because other modules may still hold objects of the first.

:meta hide-value:
"""


class _Loader(SourceFileLoader):
    """Reads a source once, so that `SOURCES` has the bytes that are compiled."""

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        source = super().get_data(path)
        _note(self.name, Path(path), source)
        # Python compares "mtime" with four bytes of the compiled file; here they are a digest of the source.
        return {"mtime": int.from_bytes(hashlib.sha256(source).digest()[:4]), "size": len(source)}

    def get_data(self, path: Any) -> bytes:
        if path == self.path and self.name in SOURCES:
            return SOURCES[self.name][1][-1]
        content = super().get_data(path)
        if path != self.path and content[4:8] != bytes(4):  # flags of PEP 552, which replace the comparison
            raise OSError(f"{path} was compiled to be used without a look at its source")
        return content


class _Finder(MetaPathFinder):
    """Finds modules of this package as Python does, and gives them `_Loader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{PACKAGE}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.origin and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


def read_table(path: Path) -> str:
    """Read a table of this package, and add its content to `SOURCES`."""
    content = path.read_bytes()
    _note(".".join([PACKAGE, *path.relative_to(Path(__file__).parents[1]).parts]), path, content)
    return content.decode()


def sources_of(package: str, *, but: str = "") -> bytes:
    """Return the loaded contents of a package's modules, one after the other by name; ``but`` is a module left out."""
    return b"".join(
        content
        for name, (_, loaded) in sorted(SOURCES.items())
        if name.startswith(f"{package}.") and name != f"{package}.{but}"
        for content in loaded
    )


def _note(name: str, path: Path, content: bytes) -> None:
    loaded = SOURCES.setdefault(name, (path, []))[1]
    if content not in loaded[-1:]:
        loaded.append(content)


def _note_those_before() -> None:
    """Add the three modules that Python loaded before this finder to `SOURCES`."""
    here = Path(__file__)
    before = {PACKAGE: here.parents[1] / "__init__.py", __package__: here.with_name("__init__.py"), __name__: here}
    for name, path in before.items():
        _note(name, path, path.read_bytes())


_note_those_before()
sys.meta_path.insert(0, _Finder())
