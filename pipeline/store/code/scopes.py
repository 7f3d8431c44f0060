"""Which name means what in a module, by Python's rules of scope.

What a name stands for is a text: ``package.module:NAME`` is something in a module, ``package.module:`` a module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Import = ast.Import | ast.ImportFrom

_GLOBAL = [""]
"""What a scope has for a name that is declared global."""


@dataclass(frozen=True)
class Imports:
    """What import statements mean in a module."""

    module: str
    is_package: bool

    def bound_by(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        """Yield each name that a statement binds, ``*`` for all, and what it then stands for."""
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{self._base(node)}:{alias.name.strip('*')}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                yield name, f"{alias.name if alias.asname else name}:"

    def loaded_by(self, node: ast.AST) -> Iterator[str]:
        """Yield the names of modules that a statement may import."""
        if isinstance(node, ast.ImportFrom):
            base = self._base(node)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)

    def is_ours(self, what: str) -> bool:
        """Tell whether something is in the module's own package."""
        return what.partition(":")[0].partition(".")[0] == self.module.partition(".")[0]

    def _base(self, node: ast.ImportFrom) -> str:
        parts = self.module.split(".")
        above = parts[: len(parts) - node.level + self.is_package] if node.level else []
        return ".".join([*above, *filter(None, [node.module])])


@dataclass(frozen=True)
class Names:
    """The names that a module binds at its top level: by imports, with what they stand for, and otherwise."""

    importing: Imports
    imports: Mapping[str, list[str]]
    others: Set[str]


class Scopes:
    """The scopes around a place in a module, the innermost last."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._inner: list[dict[str, list[str]]] = []

    def enter(self, node: Function | Comprehension) -> None:
        """Enter the scope of a function or a comprehension."""
        if isinstance(node, Comprehension):
            self._inner.append({name: [] for part in node.generators for name in bound(part.target)})
        else:
            self._inner.append(self._local_names(node))

    def leave(self) -> None:
        """Leave the innermost scope."""
        self._inner.pop()

    def stands_for(self, name: str) -> list[str]:
        """Return what a name may stand for; nothing where it is a variable of a function's own."""
        for scope in reversed(self._inner):
            if name in scope:
                if scope[name] is _GLOBAL:
                    break
                return scope[name]
        found = [*self.names.imports.get(name, ())]
        if name in self.names.others:
            found.append(f"{self.names.importing.module}:{name}")
        return found or [f"builtins:{name}"]

    def _local_names(self, node: Function) -> dict[str, list[str]]:
        """Return the names that are a function's own, each with what it may import under it."""
        given = node.args
        arguments = (*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg)
        found: dict[str, list[str]] = {argument.arg: [] for argument in arguments if argument}
        of_module: set[str] = set()
        outer: set[str] = set()
        for statement in node.body if isinstance(node.body, list) else [node.body]:
            for inner in own(statement):
                for name, what in self.names.importing.bound_by(inner):
                    found[name] = [*found.get(name, ()), what]
                if isinstance(inner, ast.Global):
                    of_module.update(inner.names)
                elif isinstance(inner, ast.Nonlocal):
                    outer.update(inner.names)
            for name in bound(statement):
                found.setdefault(name, [])
        found.update(dict.fromkeys(of_module, _GLOBAL))
        return {name: what for name, what in found.items() if name not in outer}


def own(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and those in it that are of the same scope."""
    yield node
    if isinstance(node, Function | ast.ClassDef):
        return
    if isinstance(node, Comprehension):
        yield from (inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
        return
    for child in ast.iter_child_nodes(node):
        yield from own(child)


def bound(node: ast.AST) -> Iterator[str]:
    """Yield each name that a node binds in its scope, as often as it does."""
    for inner in own(node):
        match inner:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                yield inner.id
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield inner.name
            case ast.Import() | ast.ImportFrom():
                yield from (name for name, _ in Imports("", is_package=False).bound_by(inner))
            case ast.ExceptHandler(name=str() as name) | ast.MatchAs(name=str() as name):
                yield name
            case ast.MatchStar(name=str() as name) | ast.MatchMapping(rest=str() as name):
                yield name


def run_on_import(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the parts of a statement that run when its module is imported, and whether they are called.

    Of a function these are decorators, which are called, and defaults; of a class decorators and base classes,
    which are called, and parts of what is in it.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            yield from ((decorator, True) for decorator in getattr(node, "decorator_list", ()))
            yield from ((default, False) for default in (*node.args.defaults, *node.args.kw_defaults) if default)
        case ast.ClassDef():
            called = (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords))
            yield from ((part, True) for part in called)
            for statement in node.body:
                yield from run_on_import(statement)
        case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.Import() | ast.ImportFrom():
            pass
        case ast.Assign(value=value) | ast.AnnAssign(value=value) | ast.Expr(value=value):
            if value:
                yield value, False
        case _:
            yield node, True  # such as `if` in a class
