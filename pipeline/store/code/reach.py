"""Which definitions some definitions can reach."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from pipeline.store.code.module import Definition, Module
from pipeline.store.code.syntax import COMPUTED, EVERYTHING, SUBCLASSES, digest, is_harmless


class Place(NamedTuple):
    """Where a use leads to: a definition in a module, the module itself, or something outside of the package."""

    module: str
    definition: str | None
    attributes: list[str]
    """What is taken from there."""


def _pass(_module: str, _name: str | None) -> None:
    pass


class Package:
    """The modules of a package by their full names; ``analysis`` returns what one of them defines."""

    def __init__(self, modules: Collection[str], analysis: Callable[[str], Module]) -> None:
        self.modules, self.module = modules, analysis
        self._changes_nothing: dict[str, bool] = {}
        self._has_effect: dict[str, bool] = {}

    def places(self, use: str, passes: Callable[[str, str | None], None] = _pass) -> Iterator[Place]:
        """Yield each place that a use may lead to.

        ``passes`` is called with each module on the way, and again with each name that it imports from elsewhere.
        """
        waiting, seen = [use], set()
        while waiting:
            use = waiting.pop()
            module, _, path = use.partition(":")
            if use in seen:
                continue
            seen.add(use)
            if module not in self.modules:
                yield Place(use, None, [])
                continue
            passes(module, None)
            name, *attributes = path.split(".")
            known, submodule = self.module(module), f"{module}.{name}"
            if not name:
                yield Place(module, None, [])
                continue
            for what in known.imports.get(name, ()):
                passes(module, name)
                waiting.append(_joined(what, attributes))
            if submodule in self.modules:
                waiting.append(_joined(f"{submodule}:", attributes))
            if name in known.names:
                yield Place(module, known.names[name], attributes)
            elif name not in known.imports and submodule not in self.modules and name != "__name__":
                yield Place(module, known.names.get("__getattr__"), attributes)

    def has_effect(self, module: str) -> bool:
        """Tell whether a module's import may do more than define each of its names."""
        if module not in self._has_effect:
            known = self.module(module)
            runs = [definition.runs for definition in known.definitions.values()]
            self._has_effect[module] = known.has_effect or any(
                uses is None or not all(map(self._may_be_called, uses)) for uses in runs
            )
        return self._has_effect[module]

    def _may_be_called(self, use: str) -> bool:
        """Tell whether all that a call of what a use leads to can reach is plain."""
        if use not in self._changes_nothing:
            waiting, seen = [use], set()
            plain = True
            while waiting and plain:
                next_use = waiting.pop()
                if next_use not in seen:
                    seen.add(next_use)
                    plain = self._changes_nothing.get(next_use, True) and self._is_plain(next_use, waiting)
            self._changes_nothing[use] = plain
        return self._changes_nothing[use]

    def _is_plain(self, use: str, waiting: list[str]) -> bool:
        if ":" not in use:
            return use not in (EVERYTHING, COMPUTED, SUBCLASSES)
        for module, name, attributes in self.places(use):
            if module not in self.modules:
                if not is_harmless(module):
                    return False
                continue
            definition = self.module(module).definitions[name] if name else None
            if definition is None or attributes or not definition.is_plain:
                return False
            waiting += definition.uses
        return True


class Reached:
    """What some definitions reach.

    Parameters
    ----------
    package : Package
    entries : sequence of str
        The definitions, such as ``pipeline.data.grayscale:make_flat``. All but the first are what is imported by a
        computed name.
    """

    def __init__(self, package: Package, entries: Sequence[str]) -> None:
        self._package = package
        self._computed_are_named = len(entries) > 1
        self._reads_annotations = self._asks_for_subclasses = False
        self._found: dict[str, Definition] = {}
        self._passed: dict[str, str] = {}
        self._loaded: set[str] = set()
        self._seen: set[str] = set()
        self._waiting = [*entries]
        while self._waiting:
            self._follow(self._waiting.pop())

    def definitions(self) -> dict[str, str]:
        """Return the digests of all definitions that are reached, by full names.

        The name of a module stands for all that its import runs.
        """
        found = {
            name: digest([definition.code, definition.annotations]) if self._reads_annotations else definition.code
            for name, definition in self._found.items()
        }
        return {**self._passed, **found}

    def files(self, names: Iterable[str]) -> list[str]:
        """Return those of the data files, named as in ``pipeline.report.style.css``, that are reached."""
        folders = tuple(f"{use[:-1]}." for use in self._seen if use.endswith("/"))
        files = tuple(f".{use[1:]}" for use in self._seen if use.startswith("/"))
        return [name for name in names if name.startswith(folders) or name.endswith(files)]

    def _follow(self, use: str) -> None:
        if use in self._seen:
            return
        self._seen.add(use)
        if use == EVERYTHING or (use == COMPUTED and not self._computed_are_named):
            self._waiting += [f"{module}:" for module in self._package.modules]
        elif use == SUBCLASSES:
            self._asks_for_subclasses = True
            for module in self._loaded:
                self._count(module, "")
        elif ":" in use:
            for place in self._package.places(use, self._pass):
                if place.definition is not None:
                    self._count(place.module, place.definition)
                elif place.module in self._package.modules:
                    self._count_whole(place.module)
        elif use in self._package.modules:
            self._load(use)

    def _pass(self, module: str, name: str | None) -> None:
        self._load(module)
        if name:
            self._passed[f"{module}.{name}"] = digest(self._package.module(module).imports[name])

    def _load(self, module: str) -> None:
        if not module or module in self._loaded:
            return
        self._loaded.add(module)
        self._load(module.rpartition(".")[0])
        self._waiting += self._package.module(module).loads
        if self._asks_for_subclasses or self._package.has_effect(module):
            self._count(module, "")

    def _count(self, module: str, name: str) -> None:
        full_name = f"{module}.{name}".rstrip(".")
        if full_name in self._found:
            return
        definition = self._package.module(module).definitions[name]
        self._found[full_name] = definition
        self._waiting += definition.uses
        if definition.reads_annotations and not self._reads_annotations:
            self._reads_annotations = True
            for found in self._found.values():
                self._waiting += found.annotations_use
        if self._reads_annotations:
            self._waiting += definition.annotations_use

    def _count_whole(self, module: str) -> None:
        known = self._package.module(module)
        for name in known.definitions:
            self._count(module, name)
        for name, found in known.imports.items():
            self._pass(module, name)
            self._waiting += found
        self._waiting += [f"{other}:" for other in self._package.modules if other.startswith(f"{module}.")]


def _joined(what: str, attributes: list[str]) -> str:
    module, _, own = what.partition(":")
    return f"{module}:{'.'.join([*filter(None, [own]), *attributes])}"
