"""Resolve the names in a module to their targets, by Python's rules of scope.

A target is a text: ``package.module:NAME`` is a name in a module, ``package.module:`` is the module itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
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
class ModuleScope:
    """The bindings at the top level of a module.

    Parameters
    ----------
    resolver : ImportResolver
    imported : mapping of str to list of str
        The targets of each name that an import statement binds.
    defined : set of str
        The names that other statements bind.
    """

    resolver: ImportResolver
    imported: Mapping[str, list[str]]
    defined: Set[str]


class ScopeStack:
    """The scopes of the functions and comprehensions around a node, the innermost last, on top of the module's.

    A class adds no scope, because its methods do not see its names. A name in the class's own body may thus resolve
    to a definition of the module that it shadows, which counts too much rather than too little.
    """

    def __init__(self, module_scope: ModuleScope) -> None:
        self.module_scope = module_scope
        self._local_scopes: list[dict[str, list[str] | None]] = []

    def enter(self, node: Function | Comprehension) -> None:
        """Enter the scope of a function or a comprehension."""
        if isinstance(node, Comprehension):
            self._local_scopes.append({name: [] for part in node.generators for name in bound_names(part.target)})
        else:
            self._local_scopes.append(self._function_scope(node))

    def leave(self) -> None:
        """Leave the innermost scope."""
        self._local_scopes.pop()

    def targets(self, name: str) -> list[str]:
        """Return the possible targets of a name; none if it is a local variable."""
        for scope in reversed(self._local_scopes):
            if name in scope:
                local_targets = scope[name]
                if local_targets is None:
                    break
                return local_targets
        targets = [*self.module_scope.imported.get(name, ())]
        if name in self.module_scope.defined:
            targets.append(f"{self.module_scope.resolver.module}:{name}")
        return targets or [f"builtins:{name}"]

    def _function_scope(self, node: Function) -> dict[str, list[str] | None]:
        """Return the targets of a function's local names; None for a name that the function declares global."""
        scope: dict[str, list[str] | None] = {
            argument.arg: [] for argument in ast.iter_child_nodes(node.args) if isinstance(argument, ast.arg)
        }
        declared_global: set[str] = set()
        declared_nonlocal: set[str] = set()
        for statement in node.body if isinstance(node.body, list) else [node.body]:
            for inner in nodes_in_same_scope(statement):
                for name, target in self.module_scope.resolver.bindings(inner):
                    scope[name] = [*(scope.get(name) or ()), target]
                if isinstance(inner, ast.Global):
                    declared_global.update(inner.names)
                elif isinstance(inner, ast.Nonlocal):
                    declared_nonlocal.update(inner.names)
            for name in bound_names(statement):
                scope.setdefault(name, [])
        scope.update(dict.fromkeys(declared_global))
        return {name: targets for name, targets in scope.items() if name not in declared_nonlocal}


def nodes_in_same_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and its descendants, without the scopes of a nested function, class or comprehension."""
    yield node
    if isinstance(node, Function | ast.ClassDef):
        return
    if isinstance(node, Comprehension):
        # The operator := in a comprehension binds its name in the scope around it.
        yield from (inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
        return
    for child in ast.iter_child_nodes(node):
        yield from nodes_in_same_scope(child)


def bound_names(node: ast.AST) -> Iterator[str]:
    """Yield each name that a node binds in its scope, once for each binding."""
    for inner in nodes_in_same_scope(node):
        match inner:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                yield inner.id
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield inner.name
            case ast.Import() | ast.ImportFrom():
                yield from (name for name, _ in ImportResolver("", is_package=False).bindings(inner))
            case ast.ExceptHandler(name=str() as name) | ast.MatchAs(name=str() as name):
                yield name
            case ast.MatchStar(name=str() as name) | ast.MatchMapping(rest=str() as name):
                yield name


def parts_run_on_import(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the parts of a statement that an import of its module runs, each with whether Python calls its value.

    The import calls the decorators of functions and classes. It also calls base classes and metaclasses, because
    ``__init_subclass__`` and a metaclass may run any code.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            yield from ((decorator, True) for decorator in getattr(node, "decorator_list", ()))
            yield from ((default, False) for default in (*node.args.defaults, *node.args.kw_defaults) if default)
        case ast.ClassDef():
            called = (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords))
            yield from ((part, True) for part in called)
            for statement in node.body:
                yield from parts_run_on_import(statement)
        case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.Import() | ast.ImportFrom():
            pass
        case ast.Assign(value=value) | ast.AnnAssign(value=value) | ast.Expr(value=value):
            if value:
                yield value, False
        case _:
            yield node, True  # a statement like `if` in a class counts as an unknown call


def join_attributes(target: str, attributes: list[str]) -> str:
    """Append attributes to a target: ``package.module:NAME`` becomes ``package.module:NAME.attribute``."""
    module, _, name = target.partition(":")
    return f"{module}:{'.'.join([*filter(None, [name]), *attributes])}"
