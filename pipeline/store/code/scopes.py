"""Resolve the names in a module to their targets, by Python's rules of scope.

A target is a text: ``package.module:NAME`` is a name in a module, ``package.module:`` is the module itself.
"""

from __future__ import annotations

import ast
from collections import ChainMap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
FunctionOrClass = Function | ast.ClassDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True)
class ImportResolver:
    """Resolves the import statements of one module, which may be relative to its qualified name."""

    module: str
    is_package: bool

    def bindings(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        """Yield each name that an import statement binds, with its target; ``*`` is the name in a star import."""
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{self._base(node)}:{alias.name.strip('*')}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                yield name, f"{alias.name if alias.asname else name}:"

    def imported_names(self, nodes: Iterable[ast.AST]) -> dict[str, list[str]]:
        """Return the targets of each name that one of some nodes imports."""
        found: dict[str, list[str]] = {}
        for node in nodes:
            for name, target in self.bindings(node):
                found.setdefault(name, []).append(target)
        return found

    def loaded_modules(self, node: ast.AST) -> Iterator[str]:
        """Yield the qualified names of the modules that an import statement may load."""
        if isinstance(node, ast.ImportFrom):
            base = self._base(node)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)  # the name may be a submodule
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)

    def is_in_package(self, target: str) -> bool:
        """Return whether a target is in the same top-level package as the module, not in a library."""
        return target.partition(":")[0].partition(".")[0] == self.module.partition(".")[0]

    def _base(self, node: ast.ImportFrom) -> str:
        parts = self.module.split(".")
        parents = parts[: len(parts) - node.level + self.is_package] if node.level else []
        return ".".join([*parents, *filter(None, [node.module])])


@dataclass(frozen=True)
class Scope:
    """The names that a piece of code sees, with their possible targets.

    A class adds no names, because its methods do not see them. A name in the class's own body may thus resolve to a
    definition of the module that it shadows, which counts too much rather than too little.

    Parameters
    ----------
    resolver : ImportResolver
    names : ChainMap of str to list of str
        The targets of each name, from the innermost function to the module; a local variable has none.
    is_class : bool
        Whether the code is the body of a class.
    """

    resolver: ImportResolver
    names: ChainMap[str, list[str]]
    is_class: bool = False

    def targets(self, name: str) -> list[str]:
        """Return the possible targets of a name; none if it is a local variable."""
        return self.names.get(name, [f"builtins:{name}"])

    def inside(self, node: FunctionOrClass | Comprehension) -> Scope:
        """Return the scope inside a function, a comprehension or a class."""
        if isinstance(node, ast.ClassDef):
            return Scope(self.resolver, self.names, is_class=True)
        if isinstance(node, Comprehension):
            targets = nodes_in_same_scope(*(part.target for part in node.generators))
            local: dict[str, list[str]] = {name: [] for name in bound_names(targets)}
        else:
            local = self._names_of_function(node)
        return Scope(self.resolver, self.names.new_child(local))

    def _names_of_function(self, node: Function) -> dict[str, list[str]]:
        nodes = [*nodes_in_same_scope(*(node.body if isinstance(node.body, list) else [node.body]))]
        names: dict[str, list[str]] = {
            **{argument.arg: [] for argument in ast.iter_child_nodes(node.args) if isinstance(argument, ast.arg)},
            **{name: [] for name in bound_names(nodes)},
            **self.resolver.imported_names(nodes),
        }
        module = Scope(self.resolver, ChainMap(self.names.maps[-1]))
        for inner in nodes:
            if isinstance(inner, ast.Global):
                names.update({name: module.targets(name) for name in inner.names})
            elif isinstance(inner, ast.Nonlocal):
                for name in inner.names:
                    names.pop(name, None)
        return names


def nodes_in_same_scope(*nodes: ast.AST) -> Iterator[ast.AST]:
    """Yield nodes and their descendants, without the scopes of nested functions, classes and comprehensions."""
    waiting = [*reversed(nodes)]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Comprehension):
            # The operator := in a comprehension binds its name in the scope around it.
            waiting += [inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
        elif not isinstance(node, FunctionOrClass):
            waiting += reversed([*ast.iter_child_nodes(node)])


def bound_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield each name that one of some nodes binds in its scope, once for each binding."""
    for inner in nodes:
        match inner:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                yield inner.id
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield inner.name
            case ast.alias():
                yield inner.asname or inner.name.partition(".")[0]
            case ast.ExceptHandler(name=str() as name) | ast.MatchAs(name=str() as name):
                yield name
            case ast.MatchStar(name=str() as name) | ast.MatchMapping(rest=str() as name):
                yield name


def parts_run_on_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a statement that an import of its module runs.

    The import calls the decorators of functions and classes. It also calls base classes and metaclasses, because
    ``__init_subclass__`` and a metaclass may run any code. These parts are inside an `ast.Call`.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            yield from map(_call, getattr(node, "decorator_list", ()))
            yield from filter(None, (*node.args.defaults, *node.args.kw_defaults))
        case ast.ClassDef():
            yield from map(_call, (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)))
            for statement in node.body:
                yield from parts_run_on_import(statement)
        case ast.Expr(value=ast.Constant()) | ast.Pass():
            pass
        case ast.Expr(value=value):
            yield value
        case ast.Assign(value=value) | ast.AnnAssign(value=value) if assigns_to_names(node):
            if value:
                yield value
        case _:
            yield _call(node)  # in a class, an import, an `if` or `KNOWN["f"] = f` counts as an unknown call


def assigns_to_names(node: ast.Assign | ast.AnnAssign) -> bool:
    """Return whether an assignment binds names, and changes no object as ``KNOWN["f"] = f`` does."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    flat = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return all(isinstance(part, ast.Name) for part in flat)


def _call(function: Any) -> ast.Call:
    return ast.Call(func=function, args=[], keywords=[])


def join_attributes(target: str, attributes: list[str]) -> str:
    """Append attributes to a target: ``package.module:NAME`` becomes ``package.module:NAME.attribute``."""
    module, _, name = target.partition(":")
    return f"{module}:{'.'.join([*filter(None, [name]), *attributes])}"
