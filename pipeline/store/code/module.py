"""What a module defines, read from its source."""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Set
from typing import Any, NamedTuple

from pipeline.store.code.scopes import Import, Imports, Names, bound, own, run_on_import
from pipeline.store.code.syntax import Reader, digest

_BUILTINS = frozenset(name for name, value in vars(builtins).items() if type(value).__module__ != "_sitebuiltins")

_WITHOUT_CALLS = (
    *(ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.JoinedStr, ast.FormattedValue),
    *(ast.Tuple, ast.List, ast.Dict, ast.expr_context),
)
"""Expressions that call nothing, as operators may."""


class Definition(NamedTuple):
    """A function, a class, or a value at the top level of a module.

    Parameters
    ----------
    code : str
        Digest of what it says.
    uses : list of str
        What it uses, as in `syntax`.
    runs : list of str or None
        What of this the import of its module may call; None where that may call something unknown.
    is_plain : bool
        Whether it calls nothing unknown, and changes nothing but its own variables, when it is called.
    reads_annotations : bool
        Whether it asks for annotations.
    annotations, annotations_use
        Its own: their digest, and what they use.
    """

    code: str
    uses: list[str]
    runs: list[str] | None
    is_plain: bool
    reads_annotations: bool
    annotations: str
    annotations_use: list[str]


class Module(NamedTuple):
    """What is known of a module.

    Parameters
    ----------
    definitions : dict of str to Definition
        By name; ``""`` is all that the module's import runs, in its order.
    names : dict of str to str
        For each name that is bound otherwise than by an import, the name of its definition.
    imports : dict of str to list of str
        For each name that an import binds, what it stands for.
    loads : list of str
        The modules of this package that it imports.
    has_effect : bool
        Whether its import does more than define each name once, as far as can be told from the module alone.
    """

    definitions: dict[str, Definition]
    names: dict[str, str]
    imports: dict[str, list[str]]
    loads: list[str]
    has_effect: bool

    @classmethod
    def from_json(cls, entry: list[Any]) -> Module:
        """Bring back a module from JSON."""
        definitions, *others = entry
        return cls({name: Definition(*definition) for name, definition in definitions.items()}, *others)


def analyse(source: bytes, name: str, *, is_package: bool) -> Module:
    """Read the source of a module, given its full name."""
    tree = ast.parse(source)
    importing = Imports(name, is_package)
    statements = [node for node in tree.body if not _is_never_run(node)]
    names = _names(statements, importing)
    simple = _simple(tree, statements, importing)
    definitions: dict[str, Definition] = {}
    run = []
    for node in statements:
        if isinstance(node, Import) and node in simple:
            continue
        definition = _definition(node, names)
        if node in simple:
            definitions.update(dict.fromkeys(bound(node), definition))
        if node not in simple or _looks_names_up(node):
            run.append(definition)
    return Module(
        {"": _all_of(run), **definitions},
        {bound_name: bound_name if bound_name in definitions else "" for bound_name in sorted(names.others)},
        dict(names.imports),
        sorted(
            {
                module
                for node in statements
                for inner in own(node)
                for module in importing.loaded_by(inner)
                if importing.is_ours(module)
            }
        ),
        len(simple) < len(statements),
    )


def _names(statements: list[ast.stmt], importing: Imports) -> Names:
    imports: dict[str, list[str]] = {}
    for node in statements:
        for inner in own(node):
            for name, what in importing.bound_by(inner):
                imports.setdefault(name, []).append(what)
    others = {name for node in statements if not isinstance(node, Import) for name in bound(node)}
    return Names(importing, imports, others)


def _simple(tree: ast.Module, statements: list[ast.stmt], importing: Imports) -> set[ast.stmt]:
    """Return the statements that each stand for themselves: they bind names that nothing else in the module binds."""
    mentioned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    means = {what for node in statements for inner in own(node) for what in importing.bound_by(inner)}
    times = Counter(name for name, _ in means)
    times.update(name for node in statements if not isinstance(node, Import) for name in bound(node))
    tangled = {name for name, count in times.items() if count > 1 or name in _BUILTINS}
    return {
        node
        for node in statements
        if not tangled & set(bound(node))
        and (_is_definition(node) or (isinstance(node, Import) and not _is_for_effect(node, importing, mentioned)))
    }


def _definition(node: ast.stmt, names: Names) -> Definition:
    reader = Reader(names)
    described = reader.describe([node])
    annotations = reader.of_annotations
    return Definition(
        code=reader.digest(described),
        uses=reader.uses(),
        runs=_runs(node, names),
        is_plain=reader.is_plain,
        reads_annotations=reader.reads_annotations(),
        annotations=annotations.digest(reader.annotated) if reader.annotated else "",
        annotations_use=annotations.uses(),
    )


def _runs(node: ast.stmt, names: Names) -> list[str] | None:
    reader = Reader(names)
    is_calling = False
    for part, is_called in run_on_import(node):
        reader.describe(part)
        is_calling |= is_called or not all(isinstance(inner, _WITHOUT_CALLS) for inner in ast.walk(part))
        if is_called and not isinstance(part, ast.Call):
            reader.is_plain &= reader.is_known(part)
    if not is_calling:
        return []
    return reader.uses() if reader.is_plain else None


def _all_of(run: list[Definition]) -> Definition:
    annotated = [definition for definition in run if definition.runs is None]  # who knows what reads their annotations
    return Definition(
        code=digest([[definition.code for definition in run], [definition.annotations for definition in annotated]]),
        uses=sorted(
            {use for definition in run for use in definition.uses}
            | {use for definition in annotated for use in definition.annotations_use}
        ),
        runs=[],
        is_plain=False,
        reads_annotations=any(definition.reads_annotations for definition in run),
        annotations="",
        annotations_use=[],
    )


def _is_never_run(node: ast.stmt) -> bool:
    """Find docstrings, declarations without a value, and what is for type checkers or for the module as a program."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None) | ast.ImportFrom(module="__future__"):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return True
        case ast.If(test=ast.Compare() as test, orelse=[]):
            return ast.unparse(test) == "__name__ == '__main__'"
    return False


def _is_definition(node: ast.stmt) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.AnnAssign(target=ast.Name()):
            return True
        case ast.Assign(targets=targets):
            flat = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
            return all(isinstance(part, ast.Name) for part in flat)
    return False


def _is_for_effect(node: Import, importing: Imports, mentioned: Set[str]) -> bool:
    """Tell whether an import is of all that a module has, or of a library whose name nothing mentions."""
    names = {name for name, _ in importing.bound_by(node)}
    is_of_library = not any(map(importing.is_ours, importing.loaded_by(node)))
    return "*" in names or (is_of_library and not names & mentioned)


def _looks_names_up(node: ast.stmt) -> bool:
    """Tell whether the import of the module looks a name up for a definition, so that its place may matter."""
    return any(isinstance(inner, ast.Name) for part, _ in run_on_import(node) for inner in ast.walk(part))
