"""Find the definitions that other definitions can reach, by following references through the modules of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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


class Reachable:
    """What some entries, as in `Sources.code`, can reach among the modules of a package, as in `Sources`.

    Attributes
    ----------
    definitions : dict of str to Definition
        By qualified name, as in `Code`.
    references : set of str
        All references in the definitions.
    """

    def __init__(self, modules: Mapping[str, bool], analysis: Callable[[str], Module], entries: Sequence[str]) -> None:
        self.definitions: dict[str, Definition] = {}
        self.references: set[str] = set()
        self._modules, self._module = modules, analysis
        self._names_computed_imports = len(entries) > 1
        self._loaded: set[str] = set()
        self._waiting = [*entries]
        while self._waiting:
            self._follow(self._waiting.pop())

    def files(self, names: Iterable[str]) -> list[str]:
        """Return the reachable ones of some data files, named for example ``pipeline.report.style.css``."""
        folders = tuple(f"{reference[:-1]}." for reference in self.references if reference.endswith("/"))
        files = tuple(f".{reference[1:]}" for reference in self.references if reference.startswith("/"))
        return [name for name in names if name.startswith(folders) or name.endswith(files)]

    def _follow(self, reference: str) -> None:
        if reference in self.references:
            return
        self.references.add(reference)
        if reference == ALL_MODULES or (reference == COMPUTED_IMPORT and not self._names_computed_imports):
            self._waiting += [f"{module}:" for module in self._modules]
        elif reference == SUBCLASSES:
            for module in self._loaded:
                self._add(module, IMPORT_CODE)
        elif (loaded := reference.partition(":")[0]) in self._modules:
            self._load(loaded)
            for module, name, _ in self._resolve(reference) if ":" in reference else ():
                if module in self._modules:
                    self._load(module)
                    self._add_whole(module) if name is None else self._add(module, name)

    def _load(self, module: str) -> None:
        """Add a module that an import loads, with its parents, the modules that it loads, and its side effects."""
        if not module or module in self._loaded:
            return
        self._loaded.add(module)
        self._load(module.rpartition(".")[0])
        analysed = self._module(module)
        self._waiting += analysed.loaded_modules
        # The import code holds each class that has a base class, and thus all possible subclasses.
        if SUBCLASSES in self.references or self._calls_have_side_effects(analysed.called_on_import):
            self._add(module, IMPORT_CODE)

    def _add(self, module: str, name: str) -> None:
        qualified_name = f"{module}.{name}".rstrip(".")
        if qualified_name in self.definitions:
            return
        definition = self._module(module).definitions[name]
        self.definitions[qualified_name] = definition
        self._waiting += definition.references

    def _add_whole(self, module: str) -> None:
        """Add all definitions of a module, the targets of its imports, its submodules, and the data files beside it."""
        analysed = self._module(module)
        self._waiting.append(f"{module if self._modules[module] else module.rpartition('.')[0]}/")
        for name in analysed.definitions:
            self._add(module, name)
        for targets in analysed.imports.values():
            self._waiting += targets
        self._waiting += [f"{other}:" for other in self._modules if other.startswith(f"{module}.")]

    def _resolve(self, reference: str) -> Iterator[tuple[str, str | None, list[str]]]:
        """Yield each definition that a reference may resolve to, and each import on the way.

        A definition is its module, its name in the module (None for the whole module), and the attributes that the
        reference takes from it. In place of a module outside of the package there is the reference itself.
        """
        waiting, seen = [reference], set()
        while waiting:
            reference = waiting.pop()
            if reference in seen:
                continue
            seen.add(reference)
            module, _, path = reference.partition(":")
            if module not in self._modules:
                yield reference, None, []
                continue
            name, *attributes = path.split(".")
            if not name:
                yield module, None, []
                continue
            analysed, submodule = self._module(module), f"{module}.{name}"
            if name in analysed.imports:
                yield module, name, []
                waiting += [join_attributes(target, attributes) for target in analysed.imports[name]]
            if submodule in self._modules:
                waiting.append(join_attributes(f"{submodule}:", attributes))
            if name in analysed.bindings:
                yield module, analysed.bindings[name], attributes
            elif name not in analysed.imports and submodule not in self._modules and name != "__name__":
                # The name comes from the module's __getattr__, a star import or nowhere: without the first, the whole
                # module counts.
                yield module, analysed.bindings.get("__getattr__"), attributes

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
            for module, name, attributes in self._resolve(reference) if ":" in reference else ():
                if module in self._modules:
                    if not name or attributes:
                        return True
                    waiting += self._module(module).definitions[name].references
                elif not is_safe_to_call(module):
                    return True
        return False
