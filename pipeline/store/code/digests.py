"""Digest all definitions that a stage can reach, and cache the digests on disk."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoreError
from pipeline.files import loaded_sources
from pipeline.files.digests import json_digest
from pipeline.files.json_cache import read_sealed, write_sealed

if TYPE_CHECKING:
    from pipeline.store.code.module import Module

PACKAGE = Path(__file__).parents[2]
"""The folder of the package whose definitions count. The code of libraries does not count."""

MODULES_CACHE = "definitions.json"
"""The file, beside the cache of digests, that caches the analysis of each source."""

DIGITS = 16
"""The length of a recorded digest."""

_MODULES: dict[str, Module] = {}
"""The analyses that this process has made or read from disk, by the digests of the sources."""

# Digests by qualified names, for example pipeline.data.grayscale.make_flat. Under the name of a module is the digest of
# the code that its import runs, under the name of a data file the digest of its content.
Code = dict[str, str]


@functools.cache
def sources_at_start(cache: Path | None) -> Sources:
    """Return the sources as they were at the first call in this process."""
    return Sources.read(cache)


@dataclass(frozen=True)
class Sources:
    """The files of the package as they are at one moment.

    Parameters
    ----------
    files : mapping of str to bytes
        The content of each, by the qualified name of the module, or a name like ``pipeline.report.style.css``.
    modules : mapping of str to bool
        Whether each module is a package, by its qualified name.
    cache : Path or None
        A file that caches the digests for the present sources.
    """

    files: Mapping[str, bytes]
    modules: Mapping[str, bool]
    cache: Path | None

    @classmethod
    def read(cls, cache: Path | None = None) -> Sources:
        """Read all sources and data files of the package."""
        files, modules = {}, {}
        for folder, folders, names in os.walk(PACKAGE):
            folders[:] = [name for name in folders if name != "__pycache__"]
            package = ".".join(Path(folder).relative_to(PACKAGE.parent).parts)
            for file in names:
                name = package if file == "__init__.py" else f"{package}.{file.removesuffix('.py')}"
                if file.endswith(".py"):
                    modules[name] = file == "__init__.py"
                if file.endswith((".py", *loaded_sources.DATA_SUFFIXES)):
                    files[name] = Path(folder, file).read_bytes()
        for name in [*modules]:
            for package in itertools.accumulate(name.split("."), "{}.{}".format):
                if package not in modules:  # a package without __init__.py
                    files[package], modules[package] = b"", True
        return cls(files, modules, cache)

    def code(self, entries: tuple[str, ...]) -> Code:
        """Return the digests of some definitions and of all definitions that they can reach.

        Parameters
        ----------
        entries : tuple of str
            References to the definitions, for example ``"pipeline.data.grayscale:make_flat"``. All but the first name
            the targets of imports by a computed name.
        """
        key = " ".join(entries)
        if key not in self._cached_answers:
            self._cached_answers[key] = self._reach(entries)
            if self.cache:
                write_sealed(self.cache, {"sources": self._digest_of_all, "answers": self._cached_answers})
        return self._cached_answers[key]

    def check_loaded(self, entries: tuple[str, ...]) -> None:
        """Check that this process has loaded the definitions as they are in the files.

        Raises
        ------
        StoreError
            A definition was edited after this process had loaded its module.
        """
        for loaded in self._loaded():
            now, then = self.code(entries), loaded.code(entries)
            if changed := [name for name in sorted({*now, *then}) if now.get(name) != then.get(name)]:
                raise StoreError(
                    f"{changed[0]} was edited after this process had loaded it, so that it would compute with the old "
                    "code. Run the same command again; in a notebook, restart the kernel."
                )

    def _loaded(self) -> Iterator[Sources]:
        """Yield the sources as this process loaded them, if they differ from the files now.

        A module that was loaded several times differs in several ways; each has its turn.
        """
        others = {
            name: [source for source in loaded if source != self.files.get(name)]
            for name, (_, loaded) in loaded_sources.SOURCES.items()
        }
        for sources in itertools.zip_longest(*others.values()):
            files = {name: source for name, source in zip(others, sources, strict=True) if source is not None}
            paths = {name: loaded_sources.SOURCES[name][0] for name in files}
            modules = {name: path.name == "__init__.py" for name, path in paths.items() if path.suffix == ".py"}
            yield Sources({**self.files, **files}, {**self.modules, **modules}, None)

    def _reach(self, entries: tuple[str, ...]) -> Code:
        from pipeline.store.code.reach import Reachable
        from pipeline.store.code.syntax import ANNOTATIONS

        for with_annotations in (False, True):
            analysis = functools.partial(self._module, with_annotations=with_annotations)
            reachable = Reachable(self.modules, analysis, entries)
            if ANNOTATIONS not in reachable.references:
                break
        self._cache_modules()
        definitions = {name: definition.digest for name, definition in reachable.definitions.items()}
        data = self.files.keys() - self.modules.keys()
        files = {name: _digest(self.files[name])[:DIGITS] for name in reachable.files(data)}
        return dict(sorted({**definitions, **files}.items()))

    def _module(self, name: str, *, with_annotations: bool) -> Module:
        key = f"{self._digests[name]}{' with annotations' if with_annotations else ''}"
        if key not in _MODULES:
            from pipeline.store.code.module import Module, analyse

            if cached := self._cached_modules.get(key):
                _MODULES[key] = Module.from_json(cached)
            else:
                source, is_package = self.files[name], self.modules[name]
                try:
                    _MODULES[key] = analyse(source, name, is_package=is_package, with_annotations=with_annotations)
                except SyntaxError as error:
                    raise StoreError(f"{name}, line {error.lineno}: {error.msg}. Correct it, and run again.") from None
        return _MODULES[key]

    def _cache_modules(self) -> None:
        """Write the analyses of the present sources, and drop the analyses of earlier sources."""
        digests = {*self._digests.values()}
        found = {key: module for key, module in _MODULES.items() if key.partition(" ")[0] in digests}
        if self.cache and not found.keys() <= self._cached_modules.keys():
            write_sealed(self.cache.with_name(MODULES_CACHE), found)

    @functools.cached_property
    def _cached_modules(self) -> dict[str, Any]:
        return read_sealed(self.cache.with_name(MODULES_CACHE)) if self.cache else {}

    @functools.cached_property
    def _cached_answers(self) -> dict[str, Code]:
        cached = read_sealed(self.cache) if self.cache else {}
        return cached["answers"] if cached.get("sources") == self._digest_of_all else {}

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        """Digests of the inputs of each file's analysis, among them the sources of the analysis itself."""
        return {
            name: _digest(_digest_of_analysis(), name.encode(), bytes([self.modules.get(name, 0)]), content)
            for name, content in self.files.items()
        }

    @functools.cached_property
    def _digest_of_all(self) -> str:
        return json_digest(self._digests)


@functools.cache
def _digest_of_analysis() -> bytes:
    return _digest(*(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).encode()


def _digest(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(len(content).to_bytes(8) + content)
    return digest.hexdigest()
