"""Normalise syntax trees for a digest, and collect the references in them.

A reference is a text. A target (see `scopes`), with the attributes taken from it, is one; the others are:

======================  ======================================================================
``package.module``      loads a module, if one of this name exists
``package/``            the data files in a package's folder, because the code reads ``__file__``
``/NAME``               the data files of this name, because the code contains it as a text
`ALL_MODULES`           every module, because the code reads ``sys.modules``
`COMPUTED_IMPORT`       a module that the code imports by a computed name
`SUBCLASSES`            the subclasses of a class, in any loaded module
======================  ======================================================================
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Set
from typing import Any

from pipeline.files.loaded_sources import DATA_SUFFIXES
from pipeline.store.code.scopes import (
    Comprehension,
    Function,
    Import,
    ImportResolver,
    ModuleScope,
    ScopeStack,
    join_attributes,
    parts_run_on_import,
)

ALL_MODULES, COMPUTED_IMPORT, SUBCLASSES = "*", "?", "<"

SAFE_LIBRARY_NAMES = frozenset(
    [
        *("abc", "builtins", "collections", "collections.abc", "contextlib", "dataclasses", "enum", "functools"),
        *("itertools", "math", "pathlib", "re", "types", "typing", "builtins.dict.fromkeys"),
        *("numba.extending.intrinsic", "numba.extending.register_jitable", "numba.njit"),
        *("numpy.array", "numpy.dtype", "numpy.float32", "numpy.int64"),
    ]
)
"""Modules, functions and classes of libraries whose calls return a value and have no side effects."""
UNSAFE_NAMES = {"__import__", "delattr", "eval", "exec", "globals", "locals", "next", "setattr", "vars"}
"""Functions in the safe modules that do have side effects, or give access to variables."""

COMPUTED_IMPORTS = {"__import__", "exec_module", "import_module", "load_module", "run_module", "run_path"}
NAMESPACES = {"eval", "exec", "globals"}
"""Functions that can look up any name of the calling module."""
ANNOTATION_READERS = {
    *("__annotations__", "get_annotations", "get_type_hints", "getfullargspec", "signature"),
    *("singledispatch", "singledispatchmethod"),
}
FIELD_ANNOTATIONS = {"ClassVar", "InitVar", "KW_ONLY"}
"""Annotations that change the class that `dataclasses` makes."""

IGNORED_FIELDS = {"annotation", "ctx", "kind", "returns", "type_comment"}
"""Fields of syntax trees that do not change a result, or that differ between versions of Python."""

DIGITS = 16


class Normaliser:
    """Turns syntax trees into lists that are equal on every version of Python, and collects their references."""

    def __init__(self, module_scope: ModuleScope, scopes: ScopeStack | None = None) -> None:
        self.module_scope = module_scope
        self.resolver = module_scope.resolver
        self.scopes = scopes or ScopeStack(module_scope)
        self.has_no_side_effects = True
        """False once a node may call unknown code, or may change objects that other code can see."""
        self.annotations: list[Any] = []
        """The normalised annotations."""
        self._is_in_class = False
        self._references: set[str] = set()
        self._words: set[str] = set()  # names as they are, attributes with a leading dot
        self._imported: dict[str, list[str]] = {}

    @functools.cached_property
    def of_annotations(self) -> Normaliser:
        """A separate normaliser for the annotations, whose references count only where code reads annotations."""
        return Normaliser(self.module_scope, self.scopes)

    def digest(self, normalised: Any) -> str:
        """Return the digest of a normalised tree, together with the targets of the imported names in it."""
        return digest([normalised, sorted(self._imported.items())])

    def references(self) -> list[str]:
        """Return all references in the trees so far, sorted."""
        module, references = self.resolver.module, set(self._references)
        folder = module if self.resolver.is_package else module.rpartition(".")[0]
        for words, reference in (
            (COMPUTED_IMPORTS, COMPUTED_IMPORT),
            (NAMESPACES, f"{module}:"),
            ({"__subclasses__"}, SUBCLASSES),
            ({"__file__"}, f"{folder}/"),
        ):
            if self._mentions(words):
                references.add(reference)
        return sorted(references)

    def reads_annotations(self) -> bool:
        """Return whether the code may read annotations at run time."""
        return self._mentions(ANNOTATION_READERS) or (self._mentions({"fields"}) and ".type" in self._words)

    def _mentions(self, words: Set[str]) -> bool:
        return not self._words.isdisjoint({*words, *(f".{word}" for word in words)})

    def normalise(self, node: Any) -> Any:  # noqa: PLR0911, PLR0912, a table of the kinds of nodes
        """Normalise a node, a list of nodes, or the value of a node's field."""
        match node:
            case list():
                return [self.normalise(item) for item in _normal_statements(node)]
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.Constant():
                return self._constant(node)
            case ast.Call():
                return self._call(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                return self._function(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                # Python evaluates the first iterable outside: in `[near for near in near.PAIR]` the last is global.
                self.normalise(node.generators[0].iter)
                return self._in_own_scope(node)
            case ast.ClassDef():
                return self._inside(node, is_class=True)
            case ast.arg() | ast.AnnAssign():
                return self._without_annotation(node)
            case ast.Raise(exc=ast.Call() as error):
                return self._fields(node, exc=self._call(error, makes_error=True))
            case ast.Assert():
                return self._fields(node, msg=None if _is_text(node.msg) else self.normalise(node.msg))
            case ast.AugAssign():
                return self._augmented_assignment(node)
            case ast.Import() | ast.ImportFrom() | ast.Global():
                return self._import(node)
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                return self._changed_item(node)
            case ast.JoinedStr():
                # Python 3.12 puts an empty string at the end of some format specifications.
                parts = [part for part in node.values if getattr(part, "value", None) != ""]
                return ["JoinedStr", [self.normalise(part) for part in parts]]
            case ast.AST():
                return self._fields(node)
        return None if node is None else repr(node)

    def resolves_call(self, function: ast.AST) -> bool:
        """Return whether the references in a called expression name all code that the call may run.

        They do in ``f()``, ``f(1)()`` and ``library.f(1).method()``. They do not if ``f`` is a local variable. They do
        not in ``f(1).method()`` or ``table[0]()`` if ``f`` or ``table`` is of this package: the method or the item may
        be of any class.
        """
        has_attribute = is_taken_from_a_value = False
        while not isinstance(function, ast.Name):
            match function:
                case ast.Attribute(value=inner):
                    has_attribute = True
                case ast.Call(func=inner):
                    is_taken_from_a_value |= has_attribute
                case ast.Subscript(value=inner):
                    is_taken_from_a_value = True
                case _:
                    return isinstance(function, ast.Constant | ast.JoinedStr)  # a method of text: ", ".join
            function = inner
        targets = self.scopes.targets(function.id)
        return bool(targets) and not (is_taken_from_a_value and any(map(self.resolver.is_in_package, targets)))

    def _fields(self, node: ast.AST, **replacements: Any) -> Any:
        fields = {
            name: replacements[name] if name in replacements else self.normalise(value)
            for name, value in ast.iter_fields(node)
            if name not in IGNORED_FIELDS
        }
        # Newer versions of Python add fields, which are empty where the syntax is old.
        return [type(node).__name__, {name: value for name, value in fields.items() if value not in (None, [])}]

    def _name(self, node: ast.Name | ast.Attribute) -> Any:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            self.has_no_side_effects = False
        attributes: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            attributes.insert(0, root.attr)
            root = root.value
        self._words.update(f".{attribute}" for attribute in attributes)
        if not isinstance(root, ast.Name):
            return ["attribute", self.normalise(root), *attributes]
        if not isinstance(root.ctx, ast.Store):
            self._refer_to(root.id, attributes)
        return ["name", root.id, *attributes]

    def _refer_to(self, name: str, attributes: list[str]) -> None:
        imported_targets = self.module_scope.imported.get(name, [])
        for target in self.scopes.targets(name):
            # An alias like `from importlib import import_module as load` hides a word that `references` looks for.
            self._words.update((name, target.rpartition(":")[2]))
            self._add_reference(join_attributes(target, attributes))
            if target in imported_targets:
                self._imported[name] = imported_targets

    def _add_reference(self, reference: str) -> None:
        if self.resolver.is_in_package(reference):
            self._references.add(reference)
        else:
            self.has_no_side_effects &= is_safe_to_call(reference)
            if reference.startswith("sys:modules"):
                self._references.add(ALL_MODULES)

    def _constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, str):
            # A stage names its function as "package.module:NAME" and imports it later.
            if re.fullmatch(r"\w+(\.\w+)+:\w+", node.value):
                self._add_reference(node.value)
            if node.value.endswith(DATA_SUFFIXES):
                self._references.add(f"/{node.value.rpartition('/')[2]}")
        return ["constant", type(node.value).__name__, ascii(node.value)]

    def _call(self, node: ast.Call, *, makes_error: bool = False) -> Any:
        match node:
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str() as module)],
            ):
                self.has_no_side_effects = False
                self._add_reference(f"{module}:")
                return ["import", module]
        self.has_no_side_effects &= self.resolves_call(node.func)
        return self._error(node) if makes_error or self._makes_error(node.func) else self._fields(node)

    def _makes_error(self, function: ast.expr) -> bool:
        """Return whether a called function is an exception class of the package's module ``errors``."""
        targets = self.scopes.targets(function.id) if isinstance(function, ast.Name) else []
        return any(re.fullmatch(r"\w+\.errors:[A-Z]\w*", target) for target in targets)

    def _error(self, call: ast.Call) -> Any:
        """Normalise the call that makes an exception, without its message and the references in the message."""
        arguments = [(None, value) for value in call.args] + [(word.arg, word.value) for word in call.keywords]
        normalised = [[name, "text" if _is_text(value) else self.normalise(value)] for name, value in arguments]
        return ["error", self.normalise(call.func), normalised]

    def _function(self, node: Function) -> Any:
        for part, _ in parts_run_on_import(node):  # Python evaluates decorators and defaults outside of the function
            self.normalise(part)
        if returned := getattr(node, "returns", None):
            self.annotations.append(self.of_annotations.normalise(returned))
        return self._in_own_scope(node)

    def _in_own_scope(self, node: Function | Comprehension) -> Any:
        self.scopes.enter(node)
        normalised = self._inside(node, is_class=False)
        self.scopes.leave()
        return normalised

    def _inside(self, node: Function | Comprehension | ast.ClassDef, *, is_class: bool) -> Any:
        was_in_class, self._is_in_class = self._is_in_class, is_class
        normalised = self._fields(node)
        self._is_in_class = was_in_class
        return normalised

    def _without_annotation(self, node: ast.arg | ast.AnnAssign) -> Any:
        if node.annotation:
            if FIELD_ANNOTATIONS & set(_words(node.annotation)):
                return [*self._fields(node), self.normalise(node.annotation)]
            self.annotations.append(self.of_annotations.normalise(node.annotation))
        # `SCALE: float = 2.5` equals `SCALE = 2.5`, but in a class the annotation makes a field of a dataclass.
        if isinstance(node, ast.AnnAssign) and node.value and not self._is_in_class:
            return self.normalise(ast.Assign(targets=[node.target], value=node.value))
        return self._fields(node)

    def _augmented_assignment(self, node: ast.AugAssign) -> Any:
        # The value may be an object that other code sees: `known = KNOWN; known |= {...}` changes KNOWN.
        self.has_no_side_effects = False
        if isinstance(node.target, ast.Name):  # the tree marks the target as stored only, although `+=` reads it too
            self._refer_to(node.target.id, [])
        return self._fields(node)

    def _import(self, node: Import | ast.Global) -> Any:
        self.has_no_side_effects = False
        for module in self.resolver.loaded_modules(node):
            self._add_reference(module)
        for name, target in self.resolver.bindings(node):
            # In a class, or for a name declared global or nonlocal, other code can reach the target by the name.
            if name == "*" or target not in self.scopes.targets(name):
                self._add_reference(target)
        return self._fields(node)

    def _changed_item(self, node: ast.Subscript) -> Any:
        self.has_no_side_effects = False
        if isinstance(node.value, ast.Attribute) and ast.unparse(node.value) == "sys.modules":
            return self._fields(node, value="sys.modules")  # adds a module, and refers to no other
        return self._fields(node)


def digest(normalised: Any) -> str:
    """Return a short digest of lists and texts."""
    return hashlib.sha256(json.dumps(normalised, separators=(",", ":")).encode()).hexdigest()[:DIGITS]


def is_safe_to_call(reference: str) -> bool:
    """Return whether a call of a library's name, for example ``math:sqrt``, is known to have no side effects."""
    name = reference.replace(":", ".").strip(".")
    parent, _, last_part = name.rpartition(".")
    return name in SAFE_LIBRARY_NAMES or (parent in SAFE_LIBRARY_NAMES and last_part not in UNSAFE_NAMES)


def _words(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=word) | ast.Attribute(attr=word):
                yield word
            case ast.Constant(value=str() as text):
                yield from re.findall(r"\w+", text)


def _is_text(node: ast.AST | None) -> bool:
    """Return whether an expression is None or builds a text, for example by ``%``, ``+``, ``format`` or an f-string."""
    match node:
        case None | ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.BinOp(op=ast.Add()):
            return _is_text(node.left) or _is_text(node.right)
        case ast.BinOp(op=ast.Mod()):
            return _is_text(node.left)
        case ast.IfExp():
            return _is_text(node.body) and _is_text(node.orelse)
        case ast.Call(func=ast.Attribute(attr="join" | "format", value=text)):
            return _is_text(text)
    return False


def _normal_statements(nodes: list[Any]) -> Iterator[Any]:
    """Leave out docstrings; split neighbouring imports into one per name, and sort them."""
    imports: list[Import] = []
    for node in nodes:
        if isinstance(node, Import):
            imports += _split_import(node)
            continue
        yield from _sorted_imports(imports)
        imports = []
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield node
    yield from _sorted_imports(imports)


def _split_import(node: Import) -> list[Import]:
    if isinstance(node, ast.Import):
        return [ast.Import(names=[alias]) for alias in node.names]
    return [ast.ImportFrom(module=node.module, names=[alias], level=node.level) for alias in node.names]


def _sorted_imports(imports: list[Import]) -> list[Import]:
    """Sort imports, unless two of them bind one name to different targets: then the last one wins."""
    bindings: dict[str, tuple[int, str]] = {}
    for node in imports:
        for name, target in ImportResolver("", is_package=False).bindings(node):
            value = getattr(node, "level", 0), target
            if name == "*" or bindings.setdefault(name, value) != value:
                return imports
    return sorted(imports, key=ast.dump)
