"""The source of each module of this package, and each table, as this process has loaded it.

A process that runs for long, such as a notebook, may hold code that has been edited since. The store compares.

Python takes a compiled file for the source's where both agree in the second of the last change and in the size, so that
of two edits within a second it may run the first. Here the content decides instead of the time.
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
SOURCES: dict[str, tuple[Path, list[bytes]]] = {}
"""By the module's full name its file, and the content that was loaded; several where the module was loaded again, since
others may still hold what they have imported from it before."""


class _Loader(SourceFileLoader):
    """Reads a source once: it is compiled from the bytes that are noted."""

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        source = super().get_data(path)
        _note(self.name, Path(path), source)
        return {"mtime": int.from_bytes(hashlib.sha256(source).digest()[:4]), "size": len(source)}

    def get_data(self, path: Any) -> bytes:
        if path == self.path and self.name in SOURCES:
            return SOURCES[self.name][1][-1]
        content = super().get_data(path)
        if path != self.path and content[4:8] != bytes(4):
            raise OSError(f"{path} was compiled to be used whatever became of its source")
        return content


class _Finder(MetaPathFinder):
    """Finds modules of this package where Python does."""

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
    """Read a table of this package whose values stay in memory, and note it as a module of its own."""
    content = path.read_bytes()
    _note(".".join([PACKAGE, *path.relative_to(Path(__file__).parents[1]).parts]), path, content)
    return content.decode()


def _note(name: str, path: Path, content: bytes) -> None:
    loaded = SOURCES.setdefault(name, (path, []))[1]
    if content not in loaded[-1:]:
        loaded.append(content)


def _note_those_before() -> None:
    """Note the three modules that are loaded before there is a finder."""
    here = Path(__file__)
    before = {PACKAGE: here.parents[1] / "__init__.py", __package__: here.with_name("__init__.py"), __name__: here}
    for name, path in before.items():
        _note(name, path, path.read_bytes())


_note_those_before()
sys.meta_path.insert(0, _Finder())
