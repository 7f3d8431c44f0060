"""Analyse one module: its definitions, its imports, and the side effects of importing it."""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from typing import Any, NamedTuple

from pipeline.store.code.scopes import (
    Import,
    ImportResolver,
    ModuleScope,
    bound_names,
    nodes_in_same_scope,
    parts_run_on_import,
)
from pipeline.store.code.syntax import Normaliser, digest

IMPORT_CODE = ""
"""The name of the definition that holds the code that a module's import runs, in its order."""

# Python adds names like `exit` and `help` only where it starts without the option -S.
_BUILTINS = frozenset(name for name, value in vars(builtins).items() if type(value).__module__ != "_sitebuiltins")

# Operators are not among these expressions without calls: `A() | A()` calls A.__or__.
_EXPRESSIONS_WITHOUT_CALLS = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.JoinedStr, ast.FormattedValue),
    *(ast.Tuple, ast.List, ast.Dict, ast.expr_context),
)


class Definition(NamedTuple):
    """A function, a class, or an assignment at the top level of a module.

    Parameters
    ----------
    digest : str
        Digest of its normalised code, without annotations.
    references : list of str
        The references in its code, as in `syntax`.
    called_on_import : list of str or None
        The references that an import of the module may call; None if the import may call unknown code.
    has_no_side_effects : bool
        Whether a call of it changes only its own variables and calls nothing but its references.
    reads_annotations : bool
        Whether it may read annotations at run time.
    annotations_digest : str
        Digest of its own annotations.
    annotations_references : list of str
        The references in its own annotations.
    """

    digest: str
    references: list[str]
    called_on_import: list[str] | None
    has_no_side_effects: bool
    reads_annotations: bool
    annotations_digest: str
    annotations_references: list[str]


class Module(NamedTuple):
    """The analysis of a module.

    Parameters
    ----------
    definitions : dict of str to Definition
        By name; `IMPORT_CODE` is one of the names.
    bindings : dict of str to str
        The definition of each name that the module binds other than by an import.
    imports : dict of str to list of str
        The targets of each name that an import binds.
    loaded_modules : list of str
        The modules of this package that an import of the module loads.
    has_side_effects : bool
        Whether an import of the module visibly does more than bind each name once. False is not yet the answer: the
        references in `Definition.called_on_import` may have side effects.
    """

    definitions: dict[str, Definition]
    bindings: dict[str, str]
    imports: dict[str, list[str]]
    loaded_modules: list[str]
    has_side_effects: bool

    @classmethod
    def from_json(cls, entry: list[Any]) -> Module:
        """Convert the JSON form of a module back."""
        definitions, *others = entry
        return cls({name: Definition(*definition) for name, definition in definitions.items()}, *others)


def analyse(source: bytes, name: str, *, is_package: bool) -> Module:
    """Analyse the source of a module, given its qualified name."""
    tree = ast.parse(source)
    statements = [node for node in tree.body if not _is_ignored(node)]
    scope = _module_scope(statements, ImportResolver(name, is_package))
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    independent = _independent_statements(statements, scope, words)
    definitions: dict[str, Definition] = {}
    import_code = []
    for node in statements:
        if isinstance(node, Import) and node in independent:
            continue
        definition = _definition(node, scope)
        if node in independent:
            definitions.update(dict.fromkeys(bound_names(node), definition))
        if node not in independent or _evaluates_names(node):
            import_code.append(definition)
    loaded_modules = {
        module
        for statement in statements
        for node in nodes_in_same_scope(statement)
        for module in scope.resolver.loaded_modules(node)
        if scope.resolver.is_in_package(module)
    }
    return Module(
        definitions={IMPORT_CODE: _merge(import_code), **definitions},
        bindings={name: name if name in definitions else IMPORT_CODE for name in sorted(scope.defined)},
        imports=dict(scope.imported),
        loaded_modules=sorted(loaded_modules),
        has_side_effects=len(independent) < len(statements),
    )


def _module_scope(statements: list[ast.stmt], resolver: ImportResolver) -> ModuleScope:
    imported: dict[str, list[str]] = {}
    for statement in statements:
        for node in nodes_in_same_scope(statement):
            for name, target in resolver.bindings(node):
                imported.setdefault(name, []).append(target)
    defined = {name for node in statements if not isinstance(node, Import) for name in bound_names(node)}
    return ModuleScope(resolver, imported, defined)


def _independent_statements(statements: list[ast.stmt], scope: ModuleScope, words: set[str]) -> set[ast.stmt]:
    """Return the imports and definitions whose order does not matter: nothing else binds the names that they bind.

    A name that shadows a builtin has two values, because statements before its binding find the builtin.
    """
    bindings = Counter({name: len(set(targets)) for name, targets in scope.imported.items()})
    bindings.update(name for node in statements if not isinstance(node, Import) for name in bound_names(node))
    dependent_names = {name for name, count in bindings.items() if count > 1 or name in _BUILTINS}
    return {
        node
        for node in statements
        if dependent_names.isdisjoint(bound_names(node))
        and (_only_imports_names(node, scope.resolver, words) if isinstance(node, Import) else _only_binds_names(node))
    }


def _definition(node: ast.stmt, scope: ModuleScope) -> Definition:
    normaliser = Normaliser(scope)
    normalised = normaliser.normalise([node])
    annotations = normaliser.of_annotations
    return Definition(
        digest=normaliser.digest(normalised),
        references=normaliser.references(),
        called_on_import=_called_on_import(node, scope),
        has_no_side_effects=normaliser.has_no_side_effects,
        reads_annotations=normaliser.reads_annotations(),
        annotations_digest=annotations.digest(normaliser.annotations) if normaliser.annotations else "",
        annotations_references=annotations.references(),
    )


def _called_on_import(node: ast.stmt, scope: ModuleScope) -> list[str] | None:
    """Return the references that an import of the module may call for a statement; None for unknown calls.

    A reference that the statement passes on counts as well: ``list(map(register, [f]))`` calls ``register``.
    """
    normaliser = Normaliser(scope)
    makes_calls = False
    for part, is_called in parts_run_on_import(node):
        normaliser.normalise(part)
        makes_calls |= is_called or not all(isinstance(inner, _EXPRESSIONS_WITHOUT_CALLS) for inner in ast.walk(part))
        if is_called and not isinstance(part, ast.Call):
            normaliser.has_no_side_effects &= normaliser.resolves_call(part)
    if not makes_calls:
        return []
    return normaliser.references() if normaliser.has_no_side_effects else None


def _merge(definitions: list[Definition]) -> Definition:
    """Merge the statements that an import runs into one definition.

    Annotations count where the import calls unknown code, which may read them: ``pydantic.dataclass`` does.
    """
    annotated = [definition for definition in definitions if definition.called_on_import is None]
    digests = [each.digest for each in definitions], [each.annotations_digest for each in annotated]
    references = [each.references for each in definitions] + [each.annotations_references for each in annotated]
    return Definition(
        digest=digest(digests),
        references=sorted(set().union(*references)),
        called_on_import=[],
        has_no_side_effects=False,
        reads_annotations=any(each.reads_annotations for each in definitions),
        annotations_digest="",
        annotations_references=[],
    )


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


def _only_binds_names(node: ast.stmt) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.AnnAssign(target=ast.Name()):
            return True
        case ast.Assign(targets=targets):
            flat = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
            return all(isinstance(part, ast.Name) for part in flat)
    return False


def _only_imports_names(node: Import, resolver: ImportResolver, words: set[str]) -> bool:
    """Return whether an import is there for its names.

    A star import may bind any name. An import of a library that the module never names is there for its side effects:
    ``import seaborn`` changes Matplotlib's style.
    """
    names = {name for name, _ in resolver.bindings(node)}
    is_in_package = any(map(resolver.is_in_package, resolver.loaded_modules(node)))
    return "*" not in names and (is_in_package or bool(names & words))


def _evaluates_names(node: ast.stmt) -> bool:
    """Return whether an import looks a name up for a definition, whose value may depend on the definition's place."""
    return any(isinstance(inner, ast.Name) for part, _ in parts_run_on_import(node) for inner in ast.walk(part))
