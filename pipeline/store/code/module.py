"""Analyse one module: its definitions, its imports, and the side effects of importing it."""

from __future__ import annotations

import ast
import builtins
from collections import ChainMap, Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.store.code.scopes import (
    Import,
    ImportResolver,
    Scope,
    assigns_to_names,
    bound_names,
    nodes_in_same_scope,
    parts_run_on_import,
)
from pipeline.store.code.syntax import SIDE_EFFECTS, Definition, Normaliser, define, digest

IMPORT_CODE = ""
"""The name of the definition that holds the code that a module's import runs, in its order."""

# Python adds names like `exit` and `help` only where it starts without the option -S.
_BUILTINS = frozenset(name for name, value in vars(builtins).items() if type(value).__module__ != "_sitebuiltins")

# Operators are not among these expressions without calls: `A() | A()` calls A.__or__.
_EXPRESSIONS_WITHOUT_CALLS = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.JoinedStr, ast.FormattedValue),
    *(ast.Tuple, ast.List, ast.Dict, ast.expr_context),
)


class Module(NamedTuple):
    """The analysis of a module.

    Parameters
    ----------
    definitions : dict of str to Definition
        By name; `IMPORT_CODE` is one of the names, and each imported name is another.
    bindings : dict of str to str
        The definition of each name that the module binds other than by an import.
    imports : dict of str to list of str
        The targets of each name that an import binds.
    loaded_modules : list of str
        The modules that an import of the module loads.
    called_on_import : list of str
        The references that an import of the module may call, among them `SIDE_EFFECTS` where it visibly does more than
        bind each name once.
    """

    definitions: dict[str, Definition]
    bindings: dict[str, str]
    imports: dict[str, list[str]]
    loaded_modules: list[str]
    called_on_import: list[str]

    @classmethod
    def from_json(cls, entry: list[Any]) -> Module:
        """Convert the JSON form of a module back."""
        definitions, *others = entry
        return cls({name: Definition(*definition) for name, definition in definitions.items()}, *others)


def analyse(source: bytes, name: str, *, is_package: bool, with_annotations: bool) -> Module:
    """Analyse the source of a module, given its qualified name.

    Parameters
    ----------
    with_annotations : bool
        Whether annotations count. They always count in statements that call unknown code, which may read them:
        ``pydantic.dataclass`` does.
    """
    tree = ast.parse(source)
    statements = [node for node in tree.body if not _is_ignored(node)]
    nodes = [*nodes_in_same_scope(*statements)]
    resolver = ImportResolver(name, is_package)
    imports = resolver.imported_names(nodes)
    names = {node: [*bound_names(nodes_in_same_scope(node))] for node in statements}
    defined = Counter(bound for node in statements if not isinstance(node, Import) for bound in names[node])
    own = {bound: [f"{name}:{bound}"] for bound in defined}
    scope = Scope(resolver, ChainMap({bound: imports.get(bound, []) + own.get(bound, []) for bound in imports | own}))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    dependent_names = _names_of_several_values(imports, defined)
    definitions: dict[str, Definition] = {}
    import_code: list[Definition] = []
    called_on_import: set[str] = set()
    for node in statements:
        is_independent = dependent_names.isdisjoint(names[node]) and _only_binds_names(node, resolver, used)
        if is_independent and isinstance(node, Import):
            continue
        calls = _called_on_import(node, scope) if is_independent else [SIDE_EFFECTS]
        called_on_import.update(calls)
        definition = define(node, scope, with_annotations=with_annotations or SIDE_EFFECTS in calls)
        if is_independent:
            definitions.update(dict.fromkeys(names[node], definition))
        if SIDE_EFFECTS in calls or _evaluates_names(node):
            import_code.append(definition)
    bindings = {bound: bound if bound in definitions else IMPORT_CODE for bound in sorted(defined)}
    definitions |= {bound: Definition(digest(found), []) for bound, found in imports.items()}
    definitions[IMPORT_CODE] = Definition(
        digest([definition.digest for definition in import_code]),
        sorted({reference for definition in import_code for reference in definition.references}),
    )
    return Module(
        definitions,
        bindings=bindings,
        imports=imports,
        loaded_modules=sorted({module for node in nodes for module in resolver.loaded_modules(node)}),
        called_on_import=sorted(called_on_import),
    )


def _names_of_several_values(imports: Mapping[str, list[str]], defined: Counter[str]) -> set[str]:
    """Return the names whose value depends on the order of the statements that bind them and use them.

    A name that shadows a builtin has two values, because statements before its binding find the builtin.
    """
    counts = defined + Counter({name: len(set(targets)) for name, targets in imports.items()})
    return {name for name, count in counts.items() if count > 1 or name in _BUILTINS}


def _called_on_import(node: ast.stmt, scope: Scope) -> list[str]:
    """Return the references that an import of the module may call for a statement.

    A reference that the statement passes on counts as well: ``list(map(register, [f]))`` calls ``register``.
    """
    normaliser = Normaliser(scope)
    parts = [*parts_run_on_import(node)]
    normaliser.normalise(parts)
    makes_calls = any(not isinstance(inner, _EXPRESSIONS_WITHOUT_CALLS) for part in parts for inner in ast.walk(part))
    return normaliser.references() if makes_calls else []


def _is_ignored(node: ast.stmt) -> bool:
    """Return whether an import runs nothing for a statement: a docstring, or code for type checkers or for a script."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None) | ast.ImportFrom(module="__future__"):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return True
        case ast.If(test=ast.Compare() as test, orelse=[]):
            return ast.unparse(test) == "__name__ == '__main__'"
    return False


def _only_binds_names(node: ast.stmt, resolver: ImportResolver, used: set[str]) -> bool:
    """Return whether a statement is there for the names that it binds.

    A star import may bind any name. An import of a library that the module never names is there for its side effects:
    ``import seaborn`` changes Matplotlib's style.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Assign() | ast.AnnAssign():
            return assigns_to_names(node)
        case ast.Import() | ast.ImportFrom():
            names = {name for name, _ in resolver.bindings(node)}
            is_in_package = any(map(resolver.is_in_package, resolver.loaded_modules(node)))
            return "*" not in names and (is_in_package or bool(names & used))
    return False


def _evaluates_names(node: ast.stmt) -> bool:
    """Return whether an import looks a name up for a definition, whose value may depend on the definition's place."""
    return any(isinstance(inner, ast.Name) for part in parts_run_on_import(node) for inner in ast.walk(part))
