"""Find the definitions that other definitions can reach, by following references through the modules of the package."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from pipeline.store.code.module import IMPORT_CODE, Module
from pipeline.store.code.scopes import join_attributes
from pipeline.store.code.syntax import (
    ALL_MODULES,
    ANNOTATIONS,
    COMPUTED_IMPORT,
    SIDE_EFFECTS,
    SUBCLASSES,
    Definition,
    is_safe_to_call,
)


class Package:
    """The modules of a package by their qualified names; ``analysis`` returns the analysis of one of them."""

    def __init__(self, modules: Collection[str], analysis: Callable[[str], Module]) -> None:
        self.modules, self.module = modules, analysis
        self._imports_with_side_effects: dict[str, bool] = {}

    def resolve(self, reference: str) -> Iterator[tuple[str, str | None, list[str]]]:
        """Yield each object that a reference may resolve to, and each import on the way.

        Yields
        ------
        module : str
            The qualified name of its module; outside of the package, the reference itself.
        definition : str or None
            Its name in the module; None for the whole module.
        attributes : list of str
            The attributes that the reference takes from the definition.
        """
        waiting, seen = [reference], set()
        while waiting:
            reference = waiting.pop()
            if reference in seen:
                continue
            seen.add(reference)
            module, _, path = reference.partition(":")
            if module not in self.modules:
                yield reference, None, []
                continue
            name, *attributes = path.split(".")
            if not name:
                yield module, None, []
                continue
            analysed, submodule = self.module(module), f"{module}.{name}"
            if name in analysed.imports:
                yield module, name, []
                waiting += [join_attributes(target, attributes) for target in analysed.imports[name]]
            if submodule in self.modules:
                waiting.append(join_attributes(f"{submodule}:", attributes))
            if name in analysed.bindings:
                yield module, analysed.bindings[name], attributes
            elif name not in analysed.imports and submodule not in self.modules and name != "__name__":
                # The name comes from the module's __getattr__, a star import or nowhere: without the first, the whole
                # module counts.
                yield module, analysed.bindings.get("__getattr__"), attributes

    def import_has_side_effects(self, module: str) -> bool:
        """Return whether an import of a module may do more than bind each of its names."""
        known = self._imports_with_side_effects
        if module not in known:
            known[module] = self._calls_have_side_effects(self.module(module).called_on_import)
        return known[module]

    def _calls_have_side_effects(self, references: Iterable[str]) -> bool:
        """Return whether calls of some references, or of any reference that these reach, may have side effects."""
        waiting, seen = [*references], set()
        while waiting:
            reference = waiting.pop()
            if reference in seen:
                continue
            seen.add(reference)
            if reference in (ALL_MODULES, ANNOTATIONS, COMPUTED_IMPORT, SIDE_EFFECTS, SUBCLASSES):
                return True
            for module, name, attributes in self.resolve(reference) if ":" in reference else ():
                if module in self.modules:
                    if not name or attributes:
                        return True
                    waiting += self.module(module).definitions[name].references
                elif not is_safe_to_call(module):
                    return True
        return False


class Reachable:
    """The definitions and data files that some definitions can reach.

    Parameters
    ----------
    package : Package
    entries : sequence of str
        References to the definitions to start from, for example ``pipeline.data.grayscale:make_flat``. All but the
        first name the targets of imports by a computed name.
    """

    def __init__(self, package: Package, entries: Sequence[str]) -> None:
        self._package = package
        self._names_computed_imports = len(entries) > 1
        self._asks_for_subclasses = False
        self._definitions: dict[str, Definition] = {}
        self._loaded: set[str] = set()
        self._seen: set[str] = set()
        self._waiting = [*entries]
        while self._waiting:
            self._follow(self._waiting.pop())

    def definitions(self) -> dict[str, str]:
        """Return the digests of all reachable definitions by their qualified names, as in `Code`."""
        return {name: definition.digest for name, definition in self._definitions.items()}

    def reads_annotations(self) -> bool:
        """Return whether one of the definitions may read annotations."""
        return ANNOTATIONS in self._seen

    def files(self, names: Iterable[str]) -> list[str]:
        """Return the reachable ones of some data files, named for example ``pipeline.report.style.css``."""
        folders = tuple(f"{reference[:-1]}." for reference in self._seen if reference.endswith("/"))
        files = tuple(f".{reference[1:]}" for reference in self._seen if reference.startswith("/"))
        return [name for name in names if name.startswith(folders) or name.endswith(files)]

    def _follow(self, reference: str) -> None:
        if reference in self._seen:
            return
        self._seen.add(reference)
        if reference == ALL_MODULES or (reference == COMPUTED_IMPORT and not self._names_computed_imports):
            self._waiting += [f"{module}:" for module in self._package.modules]
        elif reference == SUBCLASSES:
            self._asks_for_subclasses = True
            for module in self._loaded:
                self._add(module, IMPORT_CODE)
        elif ":" in reference:
            for module, name, _ in self._package.resolve(reference):
                if module in self._package.modules:
                    self._load(module)
                    self._add_whole(module) if name is None else self._add(module, name)
        elif reference in self._package.modules:
            self._load(reference)

    def _load(self, module: str) -> None:
        """Add a module that an import loads, with its parents, the modules that it loads, and its side effects."""
        if not module or module in self._loaded:
            return
        self._loaded.add(module)
        self._load(module.rpartition(".")[0])
        self._waiting += self._package.module(module).loaded_modules
        # The import code holds each class that has a base class, and thus all possible subclasses.
        if self._asks_for_subclasses or self._package.import_has_side_effects(module):
            self._add(module, IMPORT_CODE)

    def _add(self, module: str, name: str) -> None:
        qualified_name = f"{module}.{name}".rstrip(".")
        if qualified_name in self._definitions:
            return
        definition = self._package.module(module).definitions[name]
        self._definitions[qualified_name] = definition
        self._waiting += definition.references

    def _add_whole(self, module: str) -> None:
        """Add all definitions of a module, the targets of its imports, and its submodules."""
        analysed = self._package.module(module)
        for name in analysed.definitions:
            self._add(module, name)
        for targets in analysed.imports.values():
            self._waiting += targets
        self._waiting += [f"{other}:" for other in self._package.modules if other.startswith(f"{module}.")]
