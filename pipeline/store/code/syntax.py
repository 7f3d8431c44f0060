"""Normalise syntax trees for a digest, and collect the references in them.

A reference is a text. A target (see `scopes`), with the attributes taken from it, is one; the others are:

======================  ======================================================================
``package.module``      loads a module, if one of this name exists
``package/``            the data files in a package's folder, because the code reads its path
``/NAME``               the data files of this name, because the code contains it as a text
`ALL_MODULES`           every module, because the code reads ``sys.modules``
`COMPUTED_IMPORT`       a module that the code imports by a computed name
`SUBCLASSES`            the subclasses of a class, in any loaded module
`ANNOTATIONS`           the annotations of all definitions, because the code may read them
`SIDE_EFFECTS`          unknown code that the code may call, or objects of other code that it may change
======================  ======================================================================
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.files.digests import json_digest
from pipeline.files.loaded_sources import DATA_SUFFIXES
from pipeline.store.code.scopes import (
    Comprehension,
    FunctionOrClass,
    Import,
    Scope,
    join_attributes,
    parts_run_on_import,
)

ALL_MODULES, COMPUTED_IMPORT, SUBCLASSES, ANNOTATIONS, SIDE_EFFECTS = "*", "?", "<", "@", "!"

SAFE_LIBRARY_NAMES = frozenset(
    [
        *("abc", "builtins", "collections", "collections.abc", "contextlib", "dataclasses", "enum", "functools"),
        *("itertools", "math", "pathlib", "re", "types", "typing", "builtins.dict.fromkeys"),
        *("numba.extending.intrinsic", "numba.extending.register_jitable", "numba.njit"),
        *("numpy.array", "numpy.dtype", "numpy.float32", "numpy.int64"),
    ]
)
"""Modules, functions and classes of libraries whose calls return a value and have no side effects."""
UNSAFE_NAMES = {"__import__", "delattr", "eval", "exec", "getattr", "globals", "locals", "next", "setattr", "vars"}
"""Functions in the safe modules that do have side effects, or give access to variables."""

NAMESPACES = {"__globals__", "eval", "exec", "globals", "locals"}
"""Functions that can look up any name of the calling module."""
WORDS = {
    COMPUTED_IMPORT: {
        *("__import__", "exec", "exec_module", "import_module", "load_module"),
        *("resolve_name", "run_module", "run_path"),
    },
    SUBCLASSES: {"__subclasses__"},
    ANNOTATIONS: {
        *("__annotations__", "__dataclass_fields__", "get_annotations", "get_type_hints", "getfullargspec"),
        *("signature", "singledispatch", "singledispatchmethod"),
    },
}
"""Names and attributes that stand for a reference."""
FIELD_ANNOTATIONS = {"ClassVar", "InitVar", "KW_ONLY", "NotRequired", "Required"}
"""Annotations that change the class that `dataclasses` or `typing.TypedDict` makes."""

ANNOTATION_FIELDS = {"annotation", "returns"}
IGNORED_FIELDS = {"ctx", "kind", "type_comment"}
"""Fields of syntax trees that do not change a result, or that differ between versions of Python."""

DIGITS = 16


class Definition(NamedTuple):
    """A function, a class or an assignment at the top level of a module: a digest of its code, and its references."""

    digest: str
    references: list[str]


def define(node: ast.stmt, scope: Scope, *, with_annotations: bool) -> Definition:
    """Digest a statement, together with the targets of the names in it, and list its references."""
    normaliser = Normaliser(scope, with_annotations=with_annotations)
    normalised = normaliser.normalise([node])
    return Definition(digest([normalised, sorted(normaliser.targets)]), normaliser.references())


class Normaliser:
    """Turns syntax trees into lists that are equal on every version of Python, and collects their references."""

    def __init__(self, scope: Scope, *, with_annotations: bool = False) -> None:
        self.scope, self.resolver = scope, scope.resolver
        self.with_annotations = with_annotations
        self.targets: set[tuple[str, ...]] = set()  # each name that is not a local variable, with its targets
        self._references: set[str] = set()
        self._words: set[str] = set()  # names, and attributes with and without a leading dot

    def references(self) -> list[str]:
        """Return all references in the trees so far, sorted."""
        module = self.resolver.module
        folder = module if self.resolver.is_package else module.rpartition(".")[0]
        words_of = WORDS | {f"{module}:": NAMESPACES, f"{folder}/": {"__file__", "__package__", "__path__"}}
        mentioned = {reference for reference, words in words_of.items() if words & self._words}
        if {"fields", ".type"} <= self._words:
            mentioned.add(ANNOTATIONS)
        return sorted(self._references | mentioned)

    def _note_call(self, function: ast.AST) -> None:
        """Note that Python calls the value of an expression.

        The code that runs is known if the expression is a dotted name, or the value of a library's function. A local
        variable may be any function, and ``f(1)`` and its methods may be of any class, if ``f`` is of this package.
        """
        is_returned = False
        while isinstance(function, ast.Attribute | ast.Call):
            is_returned |= isinstance(function, ast.Call)
            function = function.func if isinstance(function, ast.Call) else function.value
        targets = self.scope.targets(function.id) if isinstance(function, ast.Name) else []
        if not targets or (is_returned and any(map(self.resolver.is_in_package, targets))):
            self._references.add(SIDE_EFFECTS)

    def normalise(self, node: Any) -> Any:  # noqa: PLR0911, PLR0912, a table of the kinds of nodes
        """Normalise a node, a list of nodes, or the value of a node's field."""
        match node:
            case list():
                return [*self._items(node)]
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.Constant():
                return self._constant(node)
            case ast.Call():
                return self._call(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
                return self._function_or_class(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                # Python evaluates the first iterable outside: in `[near for near in near.PAIR]` the last is global.
                self.normalise(node.generators[0].iter)
                return self._inside(node)
            case ast.arg() | ast.AnnAssign():
                return self._annotated(node)
            case ast.Raise(exc=ast.Call() as error):
                return self._fields(node, exc=self._call(error, makes_error=True))
            case ast.Assert():
                return self._fields(node, msg=None if _is_text(node.msg) else self.normalise(node.msg))
            case ast.AugAssign():
                return self._augmented_assignment(node)
            case ast.Global() | ast.Nonlocal():
                self._references.add(SIDE_EFFECTS)
                return self._fields(node)
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                return self._changed_item(node)
            case ast.JoinedStr():
                # Python 3.12 puts an empty string at the end of some format specifications.
                parts = [part for part in node.values if getattr(part, "value", None) != ""]
                return ["JoinedStr", [self.normalise(part) for part in parts]]
            case ast.AST():
                return self._fields(node)
        return None if node is None else repr(node)

    def _fields(self, node: ast.AST, **replacements: Any) -> Any:
        ignored = IGNORED_FIELDS if self.with_annotations else IGNORED_FIELDS | ANNOTATION_FIELDS
        fields = {
            name: replacements[name] if name in replacements else self.normalise(value)
            for name, value in ast.iter_fields(node)
            if name not in ignored
        }
        # Newer versions of Python add fields, which are empty where the syntax is old.
        return [type(node).__name__, {name: value for name, value in fields.items() if value not in (None, [])}]

    def _name(self, node: ast.Name | ast.Attribute) -> Any:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            self._references.add(SIDE_EFFECTS)
        attributes: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            attributes.insert(0, root.attr)
            root = root.value
        self._words.update(attributes, (f".{attribute}" for attribute in attributes))
        if not isinstance(root, ast.Name):
            return ["attribute", self.normalise(root), *attributes]
        if not isinstance(root.ctx, ast.Store):
            self._refer_to(root.id, attributes)
        return ["name", root.id, *attributes]

    def _refer_to(self, name: str, attributes: list[str]) -> None:
        if targets := self.scope.targets(name):
            self.targets.add((name, *targets))
        for target in targets:
            # An alias like `from importlib import import_module as load` hides a word that `references` looks for.
            self._words.update((name, target.rpartition(":")[2]))
            self._add_reference(join_attributes(target, attributes))

    def _add_reference(self, reference: str) -> None:
        if self.resolver.is_in_package(reference):
            self._references.add(reference)
        elif reference.startswith("sys:modules"):
            self._references.add(ALL_MODULES)
        elif not is_safe_to_call(reference):
            self._references.add(SIDE_EFFECTS)

    def _constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, str):
            # A stage names its function as "package.module:NAME" and imports it later.
            if re.fullmatch(r"\w+(\.\w+)+:\w+", node.value):
                self._add_reference(node.value)
            if node.value.endswith(DATA_SUFFIXES):
                self._references.add(f"/{node.value.rpartition('/')[2]}")
        return ["constant", type(node.value).__name__, ascii(node.value)]

    def _call(self, node: ast.Call, *, makes_error: bool = False) -> Any:
        if module := self._imported_module(node):
            self._references.add(SIDE_EFFECTS)
            self._add_reference(f"{module}:")
            return ["import", module]
        self._note_call(node.func)
        return self._error(node) if makes_error or self._makes_error(node.func) else self._fields(node)

    def _imported_module(self, call: ast.Call) -> str | None:
        """Return the module that a call of `importlib.import_module` names in full."""
        match call:
            case ast.Call(func=function, args=[ast.Constant(value=str() as module)], keywords=[]):
                root, _, attribute = ast.unparse(function).partition(".")
                targets = {join_attributes(target, [*filter(None, [attribute])]) for target in self.scope.targets(root)}
                return module if targets == {"importlib:import_module"} else None
        return None

    def _makes_error(self, function: ast.expr) -> bool:
        """Return whether a called function is an exception class of the package's module ``errors``."""
        targets = self.scope.targets(function.id) if isinstance(function, ast.Name) else []
        return any(re.fullmatch(r"\w+\.errors:[A-Z]\w*", target) for target in targets)

    def _error(self, call: ast.Call) -> Any:
        """Normalise the call that makes an exception, without its message and the references in the message."""
        arguments = [(None, value) for value in call.args] + [(word.arg, word.value) for word in call.keywords]
        normalised = [[name, "text" if _is_text(value) else self.normalise(value)] for name, value in arguments]
        return ["error", self.normalise(call.func), normalised]

    def _function_or_class(self, node: FunctionOrClass) -> Any:
        # Python evaluates decorators, defaults and annotations outside of the function, and calls the decorators.
        self.normalise([*parts_run_on_import(node)])
        if self.with_annotations and not isinstance(node, ast.ClassDef):
            for inner in (node, *ast.iter_child_nodes(node.args)):
                for field in ANNOTATION_FIELDS:
                    self._refer_to_annotation(getattr(inner, field, None))
        return self._inside(node)

    def _inside(self, node: FunctionOrClass | Comprehension) -> Any:
        outside, self.scope = self.scope, self.scope.inside(node)
        normalised = self._fields(node)
        self.scope = outside
        return normalised

    def _annotated(self, node: ast.arg | ast.AnnAssign) -> Any:
        annotation = node.annotation
        if annotation and FIELD_ANNOTATIONS & set(re.findall(r"\w+", ast.unparse(annotation))):
            return [*self._fields(node), self.normalise(annotation)]
        if self.with_annotations:
            self._refer_to_annotation(annotation)
        # `SCALE: float = 2.5` equals `SCALE = 2.5`, but in a class the annotation makes a field of a dataclass.
        is_field = self.scope.is_class or self.with_annotations
        if isinstance(node, ast.AnnAssign) and node.value and not is_field:
            return self.normalise(ast.Assign(targets=[node.target], value=node.value))
        return self._fields(node)

    def _refer_to_annotation(self, annotation: ast.expr | None) -> None:
        """Add the references in an annotation, also in texts in it: ``kinds: list["Kind"]``."""
        self.normalise(annotation)
        for inner in ast.walk(annotation) if annotation else ():
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                with contextlib.suppress(SyntaxError, ValueError):
                    self.normalise(ast.parse(inner.value, mode="eval"))

    def _augmented_assignment(self, node: ast.AugAssign) -> Any:
        # The value may be an object that other code sees: `known = KNOWN; known |= {...}` changes KNOWN.
        self._references.add(SIDE_EFFECTS)
        if isinstance(node.target, ast.Name):  # the tree marks the target as stored only, although `+=` reads it too
            self._refer_to(node.target.id, [])
        return self._fields(node)

    def _changed_item(self, node: ast.Subscript) -> Any:
        self._references.add(SIDE_EFFECTS)
        if isinstance(node.value, ast.Attribute) and ast.unparse(node.value) == "sys.modules":
            return self._fields(node, value="sys.modules")  # adds a module, and refers to no other
        return self._fields(node)

    def _items(self, items: list[Any]) -> Iterator[Any]:
        """Normalise the items of a list; leave out docstrings, and merge neighbouring imports."""
        for are_imports, group in itertools.groupby(items, lambda item: isinstance(item, Import)):
            if are_imports:
                yield self._imports([*group])
                continue
            for item in group:
                if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)):
                    yield self.normalise(item)

    def _imports(self, imports: list[Import]) -> Any:
        """Normalise neighbouring imports: their order counts only if two of them bind one name to different targets."""
        self._references.add(SIDE_EFFECTS)
        bindings = [binding for node in imports for binding in self.resolver.bindings(node)]
        loaded = [module for node in imports for module in self.resolver.loaded_modules(node)]
        for module in loaded:
            self._add_reference(module)
        for name, target in bindings:
            # In a class, or for a name declared global or nonlocal, other code can reach the target by the name.
            if name == "*" or target not in self.scope.targets(name):
                self._add_reference(target)
        last = dict(bindings)
        if "*" in last or any(target != last[name] for name, target in bindings):
            return ["imports", bindings, loaded]
        return ["imports", sorted(set(bindings)), sorted(set(loaded))]


def digest(normalised: Any) -> str:
    """Return a short digest of lists, dicts and texts."""
    return json_digest(normalised)[:DIGITS]


def is_safe_to_call(reference: str) -> bool:
    """Return whether a call of a library's name, for example ``math:sqrt``, is known to have no side effects."""
    name = reference.replace(":", ".").strip(".")
    parent, _, last_part = name.rpartition(".")
    return name in SAFE_LIBRARY_NAMES or (parent in SAFE_LIBRARY_NAMES and last_part not in UNSAFE_NAMES)


def _is_text(node: ast.AST | None) -> bool:
    """Return whether an expression is None or builds a text, for example by ``%``, ``+``, ``format`` or an f-string."""
    match node:
        case None | ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.BinOp(op=ast.Add() | ast.Mod()):
            return _is_text(node.left) or _is_text(node.right)
        case ast.IfExp():
            return _is_text(node.body) and _is_text(node.orelse)
        case ast.Call(func=ast.Attribute(attr="join" | "format", value=text)):
            return _is_text(text)
    return False
