"""What a piece of code says, as plain lists, and what it uses.

A use is a text, as in `scopes`, with the attributes that are taken; or one of these:

=====================  =============================================================
``package.module``     a module that is imported, if there is one of this name
``package/``           the data files in a package's folder
``/NAME``              the data files of this name
`EVERYTHING`           all modules: one is taken from ``sys.modules``
`COMPUTED`             a module whose name is computed
`SUBCLASSES`           the subclasses of a class, whichever modules define them
=====================  =============================================================
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
from pipeline.store.code.scopes import Comprehension, Function, Import, Imports, Names, Scopes, run_on_import

EVERYTHING, COMPUTED, SUBCLASSES = "*", "?", "<"

HARMLESS = frozenset(
    [
        *("abc", "builtins", "collections", "collections.abc", "contextlib", "dataclasses", "enum", "functools"),
        *("itertools", "math", "pathlib", "re", "types", "typing", "builtins.dict.fromkeys"),
        *("numba.extending.intrinsic", "numba.extending.register_jitable", "numba.njit"),
        *("numpy.array", "numpy.dtype", "numpy.float32", "numpy.int64"),
    ]
)
"""Functions and classes of libraries, and modules of such: a call makes a value, and changes nothing else that another
definition could find."""
HARMFUL = {"__import__", "delattr", "eval", "exec", "globals", "locals", "next", "setattr", "vars"}
"""The exceptions among Python's own."""

COMPUTED_IMPORTS = {"__import__", "exec_module", "import_module", "load_module", "run_module", "run_path"}
NAMESPACES = {"eval", "exec", "globals"}
"""Functions that find any name of the module."""
READERS_OF_ANNOTATIONS = {
    *("__annotations__", "get_annotations", "get_type_hints", "getfullargspec", "signature"),
    *("singledispatch", "singledispatchmethod"),
}
ANNOTATIONS_OF_FIELDS = {"ClassVar", "InitVar", "KW_ONLY"}
"""Those that make a difference to `dataclasses`."""

IGNORED_FIELDS = {"annotation", "ctx", "kind", "returns", "type_comment"}
"""Fields of a syntax tree that say nothing of what is computed, or that differ between versions of Python."""

DIGITS = 16


class Reader:
    """Turns syntax trees into plain lists that are the same on every version of Python, and notes what they use."""

    def __init__(self, names: Names, scopes: Scopes | None = None) -> None:
        self.names = names
        self.scopes = scopes or Scopes(names)
        self.is_plain = True
        """Whether nothing was read that calls something unknown or changes what others may find."""
        self.annotated: list[Any] = []
        """What was read of annotations."""
        self._is_in_class = False
        self._uses: set[str] = set()
        self._mentioned: set[str] = set()
        self._imported: dict[str, list[str]] = {}

    @functools.cached_property
    def of_annotations(self) -> Reader:
        """What reads the annotations."""
        return Reader(self.names, self.scopes)

    def digest(self, described: Any) -> str:
        """Digest what was described, and what the names in it stand for that the module imports."""
        return digest([described, sorted(self._imported.items())])

    def uses(self) -> list[str]:
        """Return all that was used."""
        importing, found = self.names.importing, set(self._uses)
        folder = importing.module if importing.is_package else importing.module.rpartition(".")[0]
        for names, use in (
            (COMPUTED_IMPORTS, COMPUTED),
            (NAMESPACES, f"{importing.module}:"),
            ({"__subclasses__"}, SUBCLASSES),
            ({"__file__"}, f"{folder}/"),
        ):
            if self._mentions(names):
                found.add(use)
        return sorted(found)

    def reads_annotations(self) -> bool:
        """Tell whether anything was read that asks for annotations."""
        return self._mentions(READERS_OF_ANNOTATIONS) or (self._mentions({"fields"}) and ".type" in self._mentioned)

    def _mentions(self, names: Set[str]) -> bool:
        return not self._mentioned.isdisjoint({*names, *(f".{name}" for name in names)})

    def describe(self, node: Any) -> Any:  # noqa: PLR0911, PLR0912, a table of the kinds of nodes
        """Describe a node, a list of nodes, or a value in one."""
        match node:
            case list():
                return [self.describe(item) for item in _normal_statements(node)]
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.Constant():
                return self._constant(node)
            case ast.Call():
                return self._call(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                return self._function(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self.describe(node.generators[0].iter)  # outside of its scope
                return self._in_its_scope(node)
            case ast.ClassDef():
                return self._inside(node, is_class=True)
            case ast.arg() | ast.AnnAssign():
                return self._with_annotation(node)
            case ast.Raise(exc=ast.Call() as error):
                return self._fields(node, exc=self._call(error, makes_error=True))
            case ast.Assert():
                return self._fields(node, msg=None if _is_text(node.msg) else self.describe(node.msg))
            case ast.AugAssign():
                self.is_plain = False  # what a variable stands for may be a list that others know
                if isinstance(node.target, ast.Name):
                    self._look_up(node.target.id, [])
                return self._fields(node)
            case ast.Import() | ast.ImportFrom() | ast.Global():
                return self._import(node)
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                return self._changed_item(node)
            case ast.JoinedStr():
                # Python 3.12 puts an empty string at the end of some format specifications.
                return ["JoinedStr", [self.describe(part) for part in node.values if getattr(part, "value", 1) != ""]]
            case ast.AST():
                return self._fields(node)
        return None if node is None else repr(node)

    def is_known(self, function: ast.AST) -> bool:
        """Tell whether a function that is called is known by its name, or comes from what a library's function made."""
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
                    return isinstance(function, ast.Constant | ast.JoinedStr)
            function = inner
        found = self.scopes.stands_for(function.id)
        return bool(found) and not (is_taken_from_a_value and any(map(self._is_ours, found)))

    def _fields(self, node: ast.AST, **instead: Any) -> Any:
        described = {
            name: instead[name] if name in instead else self.describe(value)
            for name, value in ast.iter_fields(node)
            if name not in IGNORED_FIELDS
        }
        return [type(node).__name__, {name: value for name, value in described.items() if value not in (None, [])}]

    def _name(self, node: ast.Name | ast.Attribute) -> Any:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            self.is_plain = False
        attributes: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            attributes.insert(0, root.attr)
            root = root.value
        self._mentioned.update(f".{attribute}" for attribute in attributes)
        if not isinstance(root, ast.Name):
            return ["attribute", self.describe(root), *attributes]
        if not isinstance(root.ctx, ast.Store):
            self._look_up(root.id, attributes)
        return ["name", root.id, *attributes]

    def _look_up(self, name: str, attributes: list[str]) -> None:
        for what in self.scopes.stands_for(name):
            self._mentioned.update((name, what.rpartition(":")[2]))
            self._use(_joined(what, attributes))
            if what in self.names.imports.get(name, ()):
                self._imported[name] = self.names.imports[name]

    def _use(self, use: str) -> None:
        if self._is_ours(use):
            self._uses.add(use)
        else:
            self.is_plain &= is_harmless(use)
            if use.startswith("sys:modules"):
                self._uses.add(EVERYTHING)

    def _is_ours(self, what: str) -> bool:
        return self.names.importing.is_ours(what)

    def _constant(self, node: ast.Constant) -> Any:
        """Describe a constant; a text such as ``package.module:NAME``, or the name of a data file, counts as a use."""
        if isinstance(node.value, str):
            if re.fullmatch(r"\w+(\.\w+)+:\w+", node.value):
                self._use(node.value)
            if node.value.endswith(DATA_SUFFIXES):
                self._uses.add(f"/{node.value.rpartition('/')[2]}")
        return ["constant", type(node.value).__name__, ascii(node.value)]

    def _call(self, node: ast.Call, *, makes_error: bool = False) -> Any:
        match node:
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str() as module)],
            ):
                self.is_plain = False
                self._use(f"{module}:")
                return ["import", module]
        self.is_plain &= self.is_known(node.func)
        return self._error(node) if makes_error or self._makes_error(node.func) else self._fields(node)

    def _makes_error(self, function: ast.expr) -> bool:
        """Tell whether a function is one of the errors that the package defines in its module ``errors``."""
        found = self.scopes.stands_for(function.id) if isinstance(function, ast.Name) else []
        return any(re.fullmatch(r"\w+\.errors:[A-Z]\w*", what) for what in found)

    def _error(self, call: ast.Call) -> Any:
        """Describe the making of an error, without the text of its message and what that alone uses."""
        given = [(None, argument) for argument in call.args] + [(word.arg, word.value) for word in call.keywords]
        described = [[name, "text" if _is_text(value) else self.describe(value)] for name, value in given]
        return ["error", self.describe(call.func), described]

    def _function(self, node: Function) -> Any:
        for part, _ in run_on_import(node):  # outside of its scope
            self.describe(part)
        if returned := getattr(node, "returns", None):
            self.annotated.append(self.of_annotations.describe(returned))
        return self._in_its_scope(node)

    def _in_its_scope(self, node: Function | Comprehension) -> Any:
        self.scopes.enter(node)
        described = self._inside(node, is_class=False)
        self.scopes.leave()
        return described

    def _inside(self, node: Function | Comprehension | ast.ClassDef, *, is_class: bool) -> Any:
        outside, self._is_in_class = self._is_in_class, is_class
        described = self._fields(node)
        self._is_in_class = outside
        return described

    def _with_annotation(self, node: ast.arg | ast.AnnAssign) -> Any:
        if node.annotation:
            if ANNOTATIONS_OF_FIELDS & set(_words(node.annotation)):
                return [*self._fields(node), self.describe(node.annotation)]
            self.annotated.append(self.of_annotations.describe(node.annotation))
        if isinstance(node, ast.AnnAssign) and node.value and not self._is_in_class:
            return self.describe(ast.Assign(targets=[node.target], value=node.value))
        return self._fields(node)

    def _import(self, node: Import | ast.Global) -> Any:
        self.is_plain = False
        for module in self.names.importing.loaded_by(node):
            self._use(module)
        for name, what in self.names.importing.bound_by(node):
            if name == "*" or what not in self.scopes.stands_for(name):  # as an attribute of a class
                self._use(what)
        return self._fields(node)

    def _changed_item(self, node: ast.Subscript) -> Any:
        self.is_plain = False
        if isinstance(node.value, ast.Attribute) and ast.unparse(node.value) == "sys.modules":
            return self._fields(node, value="sys.modules")  # whoever takes it from there uses it
        return self._fields(node)


def digest(described: Any) -> str:
    """Return a short digest of plain lists and texts."""
    return hashlib.sha256(json.dumps(described, separators=(",", ":")).encode()).hexdigest()[:DIGITS]


def is_harmless(use: str) -> bool:
    """Tell whether something of a library's, such as ``math:sqrt``, may be called on import."""
    name = use.replace(":", ".").strip(".")
    parent, _, own_name = name.rpartition(".")
    return name in HARMLESS or (parent in HARMLESS and own_name not in HARMFUL)


def _joined(what: str, attributes: list[str]) -> str:
    module, _, own_name = what.partition(":")
    return f"{module}:{'.'.join([*filter(None, [own_name]), *attributes])}"


def _words(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=word) | ast.Attribute(attr=word):
                yield word
            case ast.Constant(value=str() as text):
                yield from re.findall(r"\w+", text)


def _is_text(node: ast.AST | None) -> bool:
    """Tell whether an expression is the text of a message, whatever is put into it."""
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
    """Leave out docstrings; bring neighbouring imports into a fixed order, a name each."""
    imports: list[Import] = []
    for node in nodes:
        if isinstance(node, Import):
            imports += _one_import_a_name(node)
            continue
        yield from _in_fixed_order(imports)
        imports = []
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield node
    yield from _in_fixed_order(imports)


def _one_import_a_name(node: Import) -> list[Import]:
    if isinstance(node, ast.Import):
        return [ast.Import(names=[alias]) for alias in node.names]
    return [ast.ImportFrom(module=node.module, names=[alias], level=node.level) for alias in node.names]


def _in_fixed_order(imports: list[Import]) -> list[Import]:
    """Sort imports where their order cannot matter; of several that bind one name, the last one counts."""
    bound: dict[str, tuple[int, str]] = {}
    for node in imports:
        for name, what in Imports("", is_package=False).bound_by(node):
            value = getattr(node, "level", 0), what
            if name == "*" or bound.setdefault(name, value) != value:
                return imports
    return sorted(imports, key=ast.dump)
