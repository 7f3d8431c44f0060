"""The digests of all that some definitions reach, remembered from one process to the next."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoreError
from pipeline.files import loaded_sources
from pipeline.files.digests import json_digest
from pipeline.files.json_cache import read_sealed, write_sealed

if TYPE_CHECKING:
    from pipeline.store.code.module import Module
    from pipeline.store.code.reach import Package

PACKAGE = Path(__file__).parents[2]
"""The folder of the package whose definitions count; what it imports from elsewhere does not."""

MODULES_CACHE = "definitions.json"
"""The file, beside the cache of the answers, that remembers what each source defines."""

DIGITS = 16
"""Of a digest that is recorded."""

_MODULES: dict[str, Module] = {}
"""What each source defines that was looked at in this process, by the source's digest."""

# Digests by the full names of definitions, such as pipeline.data.grayscale.make_flat. The name of a module stands for
# everything that its import runs, the name of a data file for its content.
Code = dict[str, str]


def code_digests(entries: Iterable[str], cache: Path | None = None) -> Code:
    """Digest some definitions and all that they can reach.

    Parameters
    ----------
    entries : iterable of str
        Such as ``"pipeline.data.grayscale:make_flat"``. All but the first are what is imported by a computed name.
    cache : Path, optional
        A file that remembers the answers for the sources as they are now.
    """
    return Sources.read(cache).code(tuple(entries))


@functools.cache
def code_at_start(entries: tuple[str, ...], cache: Path | None) -> Code:
    """Return what `code_digests` returned the first time in this process.

    Raises
    ------
    StoreError
        As `Sources.check_loaded` does.
    """
    sources = _at_start(cache)
    sources.check_loaded(entries)
    return sources.code(entries)


@functools.cache
def _at_start(cache: Path | None) -> Sources:
    return Sources.read(cache)


@dataclass(frozen=True)
class Sources:
    """The files of the package as they are at one moment.

    Parameters
    ----------
    files : mapping of str to bytes
        What is in each, by the name of the module, or by one such as ``pipeline.report.style.css``.
    modules : mapping of str to bool
        The names of the modules, and which of them are packages.
    cache : Path or None
        As in `code_digests`.
    """

    files: Mapping[str, bytes]
    modules: Mapping[str, bool]
    cache: Path | None

    @classmethod
    def read(cls, cache: Path | None = None) -> Sources:
        """Read the files."""
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
        return cls(files, modules, cache)

    def code(self, entries: tuple[str, ...]) -> Code:
        """Return the digests of some definitions and of all that they can reach."""
        asked = " ".join(entries)
        if asked not in self._known_answers:
            self._known_answers[asked] = self._reach(entries)
            if self.cache:
                write_sealed(self.cache, {"sources": self._digest_of_all, "answers": self._known_answers})
        return self._known_answers[asked]

    def check_loaded(self, entries: tuple[str, ...]) -> None:
        """Compare the code with that which this process has loaded.

        Raises
        ------
        StoreError
            A definition was edited after its module had been loaded.
        """
        for loaded in self._loaded():
            now, then = self.code(entries), loaded.code(entries)
            if changed := [name for name in sorted({*now, *then}) if now.get(name) != then.get(name)]:
                raise StoreError(
                    f"{changed[0]} was edited after this process had loaded it, so that it would compute with the old "
                    "code. Run the same command again; in a notebook, restart the kernel."
                )

    def _loaded(self) -> Iterator[Sources]:
        """Yield the sources as this process has loaded them, once more for what it has loaded once more."""
        others = {
            name: [source for source in loaded if source != self.files.get(name)]
            for name, (_, loaded) in loaded_sources.SOURCES.items()
        }
        for number in range(max(map(len, others.values()))):
            files = {name: sources[number] for name, sources in others.items() if number < len(sources)}
            paths = {name: loaded_sources.SOURCES[name][0] for name in files}
            modules = {name: path.name == "__init__.py" for name, path in paths.items() if path.suffix == ".py"}
            yield Sources({**self.files, **files}, {**self.modules, **modules}, None)

    def _reach(self, entries: tuple[str, ...]) -> Code:
        from pipeline.store.code.reach import Reached

        reached = Reached(self._package, entries)
        self._remember_modules()
        data = self.files.keys() - self.modules.keys()
        files = {name: _digest(self.files[name])[:DIGITS] for name in reached.files(data)}
        return dict(sorted({**reached.definitions(), **files}.items()))

    @functools.cached_property
    def _package(self) -> Package:
        from pipeline.store.code.reach import Package

        return Package(self.modules, self._module)

    def _module(self, name: str) -> Module:
        digest = self._digests[name]
        if digest not in _MODULES:
            from pipeline.store.code.module import Module, analyse

            known = Module.from_json(self._known_modules[digest]) if digest in self._known_modules else None
            _MODULES[digest] = known or analyse(self.files[name], name, is_package=self.modules[name])
        return _MODULES[digest]

    def _remember_modules(self) -> None:
        """Keep what was found of the modules as they are; of other states of theirs nothing is kept."""
        found = {digest: _MODULES[digest] for digest in self._digests.values() if digest in _MODULES}
        if self.cache and not found.keys() <= self._known_modules.keys():
            write_sealed(self.cache.with_name(MODULES_CACHE), found)

    @functools.cached_property
    def _known_modules(self) -> dict[str, Any]:
        return read_sealed(self.cache.with_name(MODULES_CACHE)) if self.cache else {}

    @functools.cached_property
    def _known_answers(self) -> dict[str, Code]:
        known = read_sealed(self.cache) if self.cache else {}
        return known["answers"] if known.get("sources") == self._digest_of_all else {}

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        """Digests of all that decides what is known of each file, this analysis among it."""
        return {
            name: _digest(_this_analysis(), name.encode(), bytes([self.modules.get(name, 0)]), content)
            for name, content in self.files.items()
        }

    @functools.cached_property
    def _digest_of_all(self) -> str:
        return json_digest(self._digests)


@functools.cache
def _this_analysis() -> bytes:
    return _digest(*(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).encode()


def _digest(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(len(content).to_bytes(8) + content)
    return digest.hexdigest()
