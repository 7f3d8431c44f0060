"""Random packages of small modules. Each definition adds a number of its own to the values of those that it uses."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from hypothesis import strategies as st

NAME = "generated"

ROOT = """
KNOWN = []
STATE = {}

def register(function):
    KNOWN.append(function)
    return function

def keep(name):
    def wrap(function):
        STATE[name] = function
        return function
    return wrap

class Base:
    pass
"""

HEAD = f"""
import dataclasses, functools
from {NAME} import root
from {NAME}.root import KNOWN, STATE, keep, register

MENTIONED = dataclasses, functools, root, KNOWN, STATE, keep, register
"""

STAGE = """
def run():
    registered = [function() for function in KNOWN], {{name: function() for name, function in [*STATE.items()]}}
    return ({}, registered)"""

FORMS = {
    "constant": ("{name} = {n} + {used}", "{name}"),
    "annotated": ("{name}: int = {n} + {used}", "{name}"),
    "pair": ("{name}, other_{name} = {n} + {used}, 0", "{name}"),
    "function": ("def {name}(): return {n} + {used}", "{name}()"),
    "default": ("def {name}(x={n} + {used}): return x", "{name}()"),
    "keyword default": ("def {name}(*, x={n} + {used}): return x", "{name}()"),
    "lambda": ("{name} = lambda: {n} + {used}", "{name}()"),
    "class": ("class {name}:\n size = {n}\n def get(self): return self.size + {used}", "{name}().get()"),
    "base": ("class B{name}:\n def get(self): return {n} + {used}\nclass {name}(B{name}): pass", "{name}().get()"),
    "field": ("@dataclasses.dataclass\nclass {name}:\n x: int = {n} + {used}", "{name}().x"),
    "property": ("class {name}:\n @property\n def x(self): return {n} + {used}", "{name}().x"),
    "decorator": (
        "def {name}(f): return lambda: f() + {n} + {used}\n@{name}\ndef of_{name}(): return 0",
        "of_{name}()",
    ),
    "cached": ("@functools.cache\ndef {name}(): return {n} + {used}", "{name}()"),
    "partial": ("def of_{name}(x): return x + {used}\n{name} = functools.partial(of_{name}, {n})", "{name}()"),
    "table": ("def of_{name}(): return {n} + {used}\n{name} = {{'a': of_{name}}}", "{name}['a']()"),
    "conditional": ("if KNOWN is not None:\n {name} = {n} + {used}\nelse:\n {name} = 0", "{name}"),
    "attempt": ("try:\n {name} = {n} + {used}\nexcept ImportError:\n {name} = 0", "{name}"),
    "bound twice": ("{name} = {n}\n{name} = {name} + {used}", "{name}"),
    "global": ("v{name} = 0\ndef {name}():\n global v{name}\n v{name} = {n} + {used}\n return v{name}", "{name}()"),
    "comprehension": ("{name} = [{n} + x for x in [{used}]]", "{name}[0]"),
    "nested": ("def {name}():\n def inner(x={n}): return x + {used}\n return inner()", "{name}()"),
    "registered": ("@register\ndef {name}(): return {n} + {used}", "0"),
    "kept": ("@keep('{name}')\ndef {name}(): return {n} + {used}", "0"),
    "put by hand": ("def {name}(): return {n} + {used}\nSTATE['{name}'] = {name}", "0"),
    "put in class": ("def {name}(): return {n} + {used}\nclass C{name}:\n STATE['{name}'] = {name}", "0"),
    "put by getattr": ("def {name}(): return {n} + {used}\nX{name} = getattr(KNOWN, 'append')({name})", "0"),
    "global in class": ("class C{name}:\n global {name}\n {name} = {n} + {used}", "{name}"),
    "kept outside": (
        "def of_{name}():\n kept = 0\n def keep(x):\n  nonlocal kept\n  kept = x\n return keep, lambda: kept\n"
        "keep_{name}, {name} = of_{name}()\nX{name} = keep_{name}({n} + {used})",
        "{name}()",
    ),
    "subclass": ("class {name}(root.Base):\n def get(self): return {n} + {used}", "0"),
}
"""What a definition is, with the expression of its value; those of value 0 act through what their import changes."""

IMPORTS = {
    "from": ("from {package}.{module} import {names}", "{name}"),
    "from as": ("from {package}.{module} import {aliases}", "a_{name}"),
    "import": ("import {package}.{module}", "{package}.{module}.{name}"),
    "import as": ("import {package}.{module} as m_{module}", "m_{module}.{name}"),
    "of package": ("from {package} import {module}", "{module}.{name}"),
    "relative": ("from . import {module} as r_{module}", "r_{module}.{name}"),
    "relative from": ("from .{module} import {aliases}", "a_{name}"),
    "getattr": ("from {package} import {module}", "getattr({module}, '{name}')"),
    "vars": ("from {package} import {module}", "vars({module})['{name}']"),
    "re-export": ("from {package}.again_{module} import {aliases}", "a_{name}"),
    "star": ("from {package}.{module} import *", "{name}"),
    "relative here": ("", "__import__('importlib').import_module('.{module}', package='{package}').{name}"),
    "here": ("", "__import__('importlib').import_module('{package}.{module}').{name}"),
}
"""How a definition of another module is used: by an import, and by its name as it is then written."""


@dataclass
class Definition:
    """A definition, by the number of its module, and the definitions that it uses: their indices, and how."""

    module: int
    form: str
    uses: list[tuple[int, str]] = field(default_factory=list)


@st.composite
def packages(draw: st.DrawFn) -> list[Definition]:
    """Draw the definitions of a package; each uses those before it."""
    count = draw(st.integers(2, 8))
    modules = sorted(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    found = []
    for index, module in enumerate(modules):
        users = st.tuples(st.integers(0, index - 1), st.sampled_from(sorted(IMPORTS))) if index else st.nothing()
        uses = draw(st.lists(users, max_size=2, unique_by=lambda use: use[0])) if index else []
        found.append(Definition(module, draw(st.sampled_from(sorted(FORMS))), uses))
    return found


def sources(definitions: list[Definition], numbers: list[int]) -> dict[str, str]:
    """Return the source of each module; ``stage.run`` uses the last definition, and what was registered."""
    found = {NAME: "", f"{NAME}.root": ROOT}
    for module in {definition.module for definition in definitions}:
        texts = [
            _text(definitions, index, numbers[index])
            for index, definition in enumerate(definitions)
            if definition.module == module
        ]
        found[f"{NAME}.m{module}"] = "\n\n".join([HEAD, *texts])
        found[f"{NAME}.again_m{module}"] = f"from {NAME}.m{module} import *"
    lines, value = _use(definitions[-1].form, f"d{len(definitions) - 1}", definitions[-1].module, "of package")
    found[f"{NAME}.stage"] = "\n".join([HEAD, lines, STAGE.format(value)])
    if any(definition.form == "subclass" for definition in definitions):
        found[f"{NAME}.stage"] += " + tuple(kind().get() for kind in root.Base.__subclasses__())"
    return found


def _text(definitions: list[Definition], index: int, number: int) -> str:
    definition = definitions[index]
    lines, used = [], ["0"]
    for other, how in definition.uses:
        target = definitions[other]
        if target.module == definition.module:
            used.append(FORMS[target.form][1].format(name=f"d{other}"))
        else:
            line, value = _use(target.form, f"d{other}", target.module, how)
            lines.append(line)
            used.append(value)
    body = FORMS[definition.form][0].format(name=f"d{index}", n=number, used=" + ".join(used))
    return "\n".join([*lines, body])


def _use(form: str, name: str, module: int, how: str) -> tuple[str, str]:
    """Return the import and the expression by which another module uses a definition."""
    statement, expression = IMPORTS[how]
    value = FORMS[form][1].format(name=name)
    word = name if value == "0" else re.match(r"\w+", value)[0]
    words = {"package": NAME, "module": f"m{module}", "name": word}
    line = statement.format(names=word, aliases=f"{word} as a_{word}", **words)
    return line, value.replace(word, expression.format(**words))


class _Loader(Loader):
    def __init__(self, source: str) -> None:
        self.source = source

    def exec_module(self, module: ModuleType) -> None:
        exec(self.source, vars(module))


class _Finder(MetaPathFinder):
    def __init__(self, found: dict[str, str]) -> None:
        self.found = found

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname not in self.found:
            return None
        return ModuleSpec(fullname, _Loader(self.found[fullname]), is_package=fullname == NAME)


def run(found: dict[str, str]) -> object:
    """Import the package again from its sources, and return what its stage computes."""
    for name in found:
        sys.modules.pop(name, None)
    finder = _Finder(found)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(f"{NAME}.stage").run()
    finally:
        sys.meta_path.remove(finder)
