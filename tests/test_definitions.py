"""Check which definitions count as the code of a stage, in generated packages and in this one."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings

from pipeline.errors import StoreError
from pipeline.files.json_cache import read_sealed
from pipeline.store.code import digests
from pipeline.store.code.digests import Sources
from tests import generated_package

ROOT = Path(__file__).parents[1]
ENTRY = ["pipeline.stage:run"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the folder of an empty package, which the analysis reads in place of this one."""
    folder = tmp_path / "pipeline"
    monkeypatch.setattr(digests, "PACKAGE", folder)
    write(folder, {"__init__": ""})
    return folder


def code_digests(entries, cache=None):
    return Sources.read(cache).code(tuple(entries))


def write(folder, sources):
    for name, source in sources.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))


def code(package, sources, *entries):
    write(package, sources)
    return code_digests(entries or ENTRY)


STAGE = '''
"""Compute things."""

from __future__ import annotations

import math
from collections.abc import Iterator

SCALE = 2.5


def run(radius: float) -> float:
    """Return the area."""
    return Shape(SCALE * radius**2 * math.pi)  # an area


class Shape:
    """A shape."""

    size: int = 5

    def grow(self, by: int = 1) -> Iterator[int]:
        by: int = by
        if by > 1:
            print(f"grows by {by!r:>{by}} {by=}")
        yield from range(by)
'''


class TestSyntax:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("  # an area", ""),
            ("SCALE = 2.5", "# a constant\n\n\nSCALE = (\n    2.5\n)  # type: ignore"),
            ("SCALE = 2.5", "SCALE=2.50"),
            ("SCALE = 2.5", "SCALE: float = 2.5"),
            ('"""Compute things."""', '"""Compute other things."""'),
            ('"""Compute things."""', ""),
            ('    """Return the area."""\n', ""),
            ('    """Return the area."""\n', "    '''Return\n\n    the area.'''\n"),
            ('    """A shape."""\n', ""),
            ('f"grows by {by!r:>{by}} {by=}"', "f'grows by {by!r:>{by}} {by=}'"),
            ("SCALE * radius**2 * math.pi", "(SCALE * (radius ** 2)) * math.pi"),
            (
                "import math\nfrom collections.abc import Iterator\n",
                "from collections.abc import Iterator\nimport math\n",
            ),
            ("from collections.abc import Iterator", "from collections.abc import Iterator, Mapping"),
            ("from collections.abc import Iterator", "from typing import Iterator"),
            ("radius: float) -> float", "radius: int) -> Shape"),
            ("radius: float) -> float", "radius)"),
            ("size: int = 5", "size: float = 5"),
            ("by: int = by", "by: float = by"),
            ("SCALE = 2.5", "SCALE = 2.5\nUNUSED = 1"),
            ("SCALE = 2.5", "SCALE = 2.5\ndef unused(): return Shape"),
            ("SCALE = 2.5", "SCALE = 2.5\nclass Unused(Shape): pass"),
            ("\n", "\n\n"),
            ("    ", "\t"),
        ],
    )
    def test_does_not_count(self, package, before, after):
        assert before in STAGE
        expected = code(package, {"stage": STAGE})

        assert code(package, {"stage": STAGE.replace(before, after)}) == expected

    def test_line_ends_do_not_count(self, package):
        expected = code(package, {"stage": STAGE})
        (package / "stage.py").write_bytes(b"\xef\xbb\xbf" + STAGE.replace("\n", "\r\n").encode())

        assert code_digests(ENTRY) == expected

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("2.5", "2.6"),
            ("SCALE = 2.5", "SCALE = '2.5'"),
            ("SCALE = 2.5", "SCALE = 2.5\nprint(SCALE)"),
            ("SCALE = 2.5", "if math:\n    SCALE = 2.5"),
            ("radius**2", "radius**3"),
            ("by > 1", "by >= 1"),
            ("by: int = 1", "by: int"),
            ("by: int = 1", "*, by: int = 1"),
            ("grows by", "grew by"),
            ("!r", "!s"),
            (">{by}", "<{by}"),
            ("yield from", "return"),
            ("import math", "import cmath as math"),
            ("from collections.abc import Iterator", "from collections.abc import Iterator as range"),
            ("class Shape", "@final\nclass Shape"),
            ("class Shape:", "class Shape(Exception):"),
            ("size: int = 5", "size: int"),
            ("size: int = 5", "size: ClassVar[int] = 5"),
            ("by: int = by", "by: int"),
            ("math.pi", "math.e"),
        ],
    )
    def test_counts(self, package, before, after):
        assert before in STAGE
        expected = code(package, {"stage": STAGE})

        assert code(package, {"stage": STAGE.replace(before, after)}) != expected

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("return 1", "return 1.0"),
            ("return 1", "return True"),
            ("return 'a'", "return b'a'"),
            ("return ['']", "return []"),
            ("f('', a)", "f(a)"),
            ("return 0.0", "return -0.0"),
            ("return y[1:]", "return y[:1]"),
            ("return 'text'", "'text'"),
            ("def f(a, b=1): ...", "def f(a=1, b=1): ..."),
            ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
            ("def f(a, /, b): ...", "def f(a, b): ..."),
            ("x = {**a, 'b': 1}", "x = {'b': 1, **a}"),
            ("async def f(): ...", "def f(): ..."),
            ("x = [i async for i in y]", "x = [i for i in y]"),
            ("match x:\n    case None: ...", "match x:\n    case True: ..."),
            ("try:\n    f()\nexcept A: ...", "try:\n    f()\nexcept* A: ..."),
            ("from . import x", "from .. import x"),
            ("from a import b", "import b"),
            ("import a\nf()\nimport b", "import b\nf()\nimport a"),
            ("from a import x\nfrom b import x", "from b import x\nfrom a import x"),
            ("from . import x\nfrom .. import x", "from .. import x\nfrom . import x"),
            ("import a as x\nfrom b import x", "from b import x\nimport a as x"),
            ("import a.x\nfrom b import a", "from b import a\nimport a.x"),
            ("f'{x}'\nf()", "f'{x:>3}'\nf()"),
            ("raise A(1)", "raise A(2)"),
            ("raise A(x, 'text')", "raise A('text', x)"),
            ("raise A", "raise B"),
        ],
    )
    def test_has_another_digest(self, package, one, other):
        found = [
            code(package, {"stage": f"async def run():\n{textwrap.indent(text, '    ')}"}) for text in (one, other)
        ]

        assert found[0] != found[1]

    @pytest.mark.parametrize(
        "imports",
        [
            "import a, b, c\nfrom d import e, f as g",
            "from d import (\n    f as g,\n    e,\n)\nimport c\n\nimport b\nimport a",
            "import c, a\nfrom d import f as g\nimport b\nfrom d import e  # noqa",
        ],
    )
    @pytest.mark.parametrize(
        "form", ["{}\ndef run(): return a, b, c, e, g", "def run():\n{}\n    return a, b, c, e, g"]
    )
    def test_the_layout_of_imports_does_not_count(self, package, imports, form):
        expected = "import a\nimport b\nimport c\nfrom d import e\nfrom d import f as g"
        written, plain = (
            code(package, {"stage": form.format(textwrap.indent(text, "    ") if "\n    return" in form else text)})
            for text in (imports, expected)
        )

        assert written == plain


class TestMessages:
    FORMS = (
        "raise ValueError({})",
        "raise ValueError(1, reason={})",
        "raise lost(x, {})",
        "assert x, {}",
        "return SettingError({})",
    )
    TEXTS = ("'one'", "'other'", "f'{helper(x)} of {x}'", "'a' + CONSTANT", "'%s' % CONSTANT", "' '.join(CONSTANT)")

    def stage(self, form, text):
        return f"""
            from pipeline.errors import SettingError

            CONSTANT = ["text"]

            def helper(x): return "help"

            def lost(x, text): return ValueError(text)

            def run(x):
                {form.format(text)}
        """

    @pytest.mark.parametrize("form", FORMS)
    def test_do_not_count(self, package, form):
        write(package, {"errors": "class SettingError(Exception): pass"})
        found = [code(package, {"stage": self.stage(form, text)}) for text in self.TEXTS]

        assert all(each == found[0] for each in found)
        assert not {"pipeline.stage.helper", "pipeline.stage.CONSTANT"} & found[0].keys()

    @pytest.mark.parametrize("form", ["return lost(x, {})", "yield {}", "return str({})"])
    def test_count_outside_of_an_exception(self, package, form):
        one, other = (code(package, {"stage": self.stage(form, text)}) for text in self.TEXTS[:2])

        assert one != other

    def test_count_as_arguments_of_a_call_inside_an_exception(self, package):
        form = "raise ValueError(helper({}))"

        assert code(package, {"stage": self.stage(form, "'a'")}) != code(package, {"stage": self.stage(form, "'b'")})


class TestAnnotations:
    @pytest.mark.parametrize(
        "reader",
        [
            "typing.get_type_hints",
            "(lambda kind: kind.__annotations__)",
            "(lambda kind: [field.type for field in dataclasses.fields(kind)])",
            "(lambda kind: kind.__dataclass_fields__['kind'].type)",
            "inspect.signature",
        ],
    )
    def test_count_where_reachable_code_reads_them(self, package, reader):
        source = """
            import dataclasses, inspect, typing
            from pipeline.kinds import Kind

            @dataclasses.dataclass
            class Shape:
                kind: Kind

            def read(): return {}, inspect, typing

            def run(): return {}Shape
        """
        sources = {"stage": source.format(reader, ""), "kinds": "class Kind: size = 1"}
        unread = code(package, sources)
        assert code(package, {"stage": sources["stage"].replace("kind: Kind", "kind: int")}) == unread
        sources["stage"] = source.format(reader, "read, ")
        read = code(package, sources)
        assert "pipeline.kinds.Kind" in read.keys() - unread.keys()
        assert code(package, {"stage": sources["stage"].replace("kind: Kind", "kind: int")}) != read

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("x: int\n    y: int", "y: int\n    x: int"),
            ("x: int", "x: ClassVar[int]"),
            ("x: int", "x: NotRequired[int]"),
        ],
    )
    def test_fields_of_a_dataclass_count(self, package, before, after):
        source = "@dataclass\nclass Shape:\n    x: int\n    y: int\n\ndef run(): return Shape"

        assert code(package, {"stage": source}) != code(package, {"stage": source.replace(before, after)})

    @pytest.mark.parametrize("annotation", ["'Kind'", "list['Kind']", "'list[Kind] | None'"])
    @pytest.mark.parametrize("form", ["class Shape: kind: {}", "def Shape(kind: {}): pass", "def Shape() -> {}: pass"])
    def test_texts_count_where_reachable_code_reads_them(self, package, form, annotation):
        stage = """
            import typing
            from pipeline.kinds import Kind

            def run(): return typing.get_type_hints(Shape)

        """
        sources = {"stage": textwrap.dedent(stage) + form.format(annotation), "kinds": "class Kind: size = 1"}

        assert "pipeline.kinds.Kind" in code(package, sources)

    def test_count_below_an_unknown_decorator(self, package):
        source = "import pydantic\n@pydantic.dataclass\nclass Shape:\n    x: {}\n\ndef run(): return Shape"

        assert code(package, {"stage": source.format("int")}) != code(package, {"stage": source.format("float")})


NEAR = """
    from dataclasses import dataclass
    from pipeline import far

    SIZE = 3
    PAIR, OTHER = 1, 2

    def helper(x=SIZE):
        return far.deep(x)

    def unused():
        return far.unused()

    class Base:
        def method(self): return helper()

    @dataclass
    class Shape(Base):
        x: int = PAIR
"""
FAR = """
    def deep(x): return deeper(x)
    def deeper(x): return x
    def unused(): pass
"""
REFERENCES = {
    "from pipeline.near import helper\ndef run(): return helper()": {"SIZE", "helper", "far.deep", "far.deeper"},
    "from pipeline.near import helper as h\ndef run(): return h()": {"SIZE", "helper", "far.deep", "far.deeper"},
    "import pipeline.near\ndef run(): return pipeline.near.helper": {"SIZE", "helper", "far.deep", "far.deeper"},
    "import pipeline.near as n\ndef run(): return n.SIZE": {"SIZE"},
    "from pipeline import near\ndef run(): return near.SIZE": {"SIZE"},
    "from . import near\ndef run(): return near.SIZE": {"SIZE"},
    "from .near import SIZE as S\ndef run(): return S": {"SIZE"},
    "def run():\n    from pipeline.near import SIZE\n    return SIZE": {"SIZE"},
    "def run():\n    import pipeline.near as near\n    return lambda: near.OTHER": {"OTHER"},
    "from pipeline import near\ndef run(x=near.SIZE): return x": {"SIZE"},
    "from pipeline import near\ndef run(): return [near for near in near.PAIR]": {"PAIR"},
    "from pipeline import near\ndef run():\n    def f(near=near.SIZE): return near.OTHER\n    return f": {"SIZE"},
    "from pipeline import near\ndef run(near): return near.SIZE, near": set(),
    "from pipeline import near\ndef run():\n    near = 1\n    return near": set(),
    "from pipeline import near\ndef run():\n    global near\n    near = near.SIZE": {"SIZE"},
    "from pipeline.near import Shape\ndef run(): return Shape()": {
        *("Shape", "Base", "PAIR", "helper", "SIZE", "far.deep", "far.deeper")
    },
    "def run(): return n\nclass A:\n    global n\n    from pipeline.near import SIZE as n": {"SIZE"},
    "def run(): return 'pipeline.near:SIZE'": {"SIZE"},
    "from pipeline import near\ndef run(): return near.__name__": set(),
    "def run(): return 'pipeline.near'": set(),
    "def run(): return 'near.SIZE'": set(),
}
WHOLE_MODULE = {
    *("SIZE", "PAIR", "OTHER", "helper", "unused", "Base", "Shape"),
    *("far.deep", "far.deeper", "far.unused"),
}
REFERENCES_TO_WHOLE_MODULE = {
    "a module passed as a value": "from pipeline import near\ndef run(): return vars(near)",
    "a module searched": "from pipeline import near\ndef run(x): return getattr(near, x)",
    "a module under another name": "from pipeline import near\ndef run(x):\n    n = near\n    return n.SIZE",
    "a module returned": "from pipeline import near\nfor_all = [near]\ndef run(): return for_all",
    "a module of a class": "def run(): return A\nclass A:\n    from pipeline import near",
    "a module in a global name": "def run():\n    global n\n    from pipeline import near as n\n    return n.SIZE",
    "a module in a name of an outer function": "def run():\n    n = 0\n    def f():\n        nonlocal n\n"
    "        from pipeline import near as n\n    return f(), n.SIZE",
    "a module in a function": "def run(x):\n    from pipeline import near\n    return x(near)",
    "a name that is not there": "from pipeline import near\ndef run(): return near.absent",
    "the package": "import pipeline\ndef run(x): return getattr(pipeline, x)",
    "its file": "from pipeline import near\ndef run(): return near.__file__",
    "its dict": "from pipeline import near\ndef run(x): return near.__dict__[x]",
    "a star": "from pipeline.near import *\ndef run(): return SIZE",
    "a star in a package": "from pipeline.group import SIZE\ndef run(): return SIZE",
    "import_module": "import importlib\ndef run(): return importlib.import_module('pipeline.near')",
    "import_module of a variable": "import importlib\ndef run(x): return importlib.import_module(x)",
    "import_module of a relative name": "import importlib\ndef run(): return importlib.import_module('.x', package=x)",
    "resolve_name": "import pkgutil\ndef run(x): return pkgutil.resolve_name(x)",
    "exec": "def run(x): exec(x)",
    "import_module under another name": "from importlib import import_module as load\ndef run(x): return load(x)",
    "__import__": "def run(x): return __import__(x)",
    "sys.modules": "import sys\ndef run(x): return sys.modules[x]",
}


class TestReach:
    @pytest.fixture
    def near(self, package):
        write(package, {"near": NEAR, "far": FAR, "group/__init__": "from pipeline.near import *", "other": "X = 1"})
        return package

    def reached(self, package, stage):
        found = code(package, {"stage": stage})
        own = (name for name in found if name.startswith(("pipeline.near.", "pipeline.far.")))
        return {name.removeprefix("pipeline.").removeprefix("near.") for name in own} - {"far", "dataclass"}

    @pytest.mark.parametrize("stage", REFERENCES)
    def test_definitions_that_are_referred_to_by_name(self, near, stage):
        assert self.reached(near, stage) == REFERENCES[stage]

    @pytest.mark.parametrize("name", REFERENCES_TO_WHOLE_MODULE)
    def test_a_module_counts_whole(self, near, name):
        assert self.reached(near, REFERENCES_TO_WHOLE_MODULE[name]) == WHOLE_MODULE

    def test_a_stage_names_the_targets_of_computed_imports(self, near):
        stage = "from importlib import import_module\ndef run(x): return import_module(f'pipeline.{x}').SIZE"
        found = code(near, {"stage": stage}, *ENTRY, "pipeline.near:SIZE")

        assert set(found) == {"pipeline.stage.run", "pipeline.near.SIZE"}

    @pytest.mark.parametrize(
        ("run", "near"),
        [
            ("near.import_module('math')", "def import_module(name): return 1"),
            ("near.Loader().import_module('math')", "class Loader:\n    def import_module(self, name): return 1"),
        ],
    )
    def test_a_function_of_this_package_that_is_named_like_one_that_imports(self, package, run, near):
        stage = f"from pipeline import near\ndef run(): return {run}"

        found = code(package, {"stage": stage, "near": near}), code(package, {"near": near.replace("1", "2")})

        assert found[0] != found[1]

    @pytest.mark.parametrize("folder", ["parts", "parts/inner"])
    @pytest.mark.parametrize(
        "stage",
        [
            "from pipeline.{} import near\ndef run(): return near.size()",
            "from pipeline.{}.near import size\ndef run(): return size()",
            "import pipeline.{0}.near\ndef run(): return pipeline.{0}.near.size()",
        ],
    )
    def test_a_package_without_init(self, package, stage, folder):
        sources = {"stage": stage.format(folder.replace("/", ".")), f"{folder}/near": "def size(): return 1"}

        assert f"pipeline.{folder.replace('/', '.')}.near.size" in code(package, sources)

    def test_a_source_that_is_no_python(self, package):
        with pytest.raises(StoreError, match=r"^pipeline.near, line 2: .+\. Correct it"):
            code(package, {"stage": "from pipeline.near import x\ndef run(): return x", "near": "x = 1\ndef f(:"})

    @pytest.mark.parametrize("word", ["globals", "locals"])
    def test_globals_counts_all_names_of_the_module(self, package, word):
        found = code(package, {"stage": f"X = 1\ndef run(x): return {word}()[x]\ndef other(): pass"})

        assert set(found) == {"pipeline.stage", "pipeline.stage.X", "pipeline.stage.other", "pipeline.stage.run"}

    def test_names_that_a_module_imports_and_passes_on(self, package):
        sources = {"stage": "from pipeline.middle import a, b\ndef run(): return a, b", "end": "one = 1\ntwo = 2"}
        before = code(package, sources | {"middle": "from pipeline.end import one as a, two as b"})
        after = code(package, sources | {"middle": "from pipeline.end import one as b, two as a"})

        assert before != after
        assert {"pipeline.end.one", "pipeline.end.two", "pipeline.middle.a"} <= before.keys() == after.keys()

    def test_a_module_that_computes_its_names(self, package):
        near = "def __getattr__(name): return make(name)\ndef make(name): return name\ndef unused(): pass"
        found = code(package, {"stage": "from pipeline import near\ndef run(): return near.anything", "near": near})

        assert {"pipeline.near.__getattr__", "pipeline.near.make"} <= found.keys()
        assert "pipeline.near.unused" not in found

    def test_circles_end(self, package):
        found = code(
            package,
            {
                "stage": "from pipeline import near\ndef run(): return near.again()",
                "near": "from pipeline import stage\nfrom pipeline.near import x\ndef again(): return stage.run(), x",
            },
        )

        assert {"pipeline.near.again", "pipeline.stage.run"} <= found.keys()

    def test_an_absent_definition_has_no_digest(self, package):
        assert code_digests(["pipeline.absent:run", "numpy:array"]) == {}

    @pytest.mark.parametrize("suffix", ["css", "csv"])
    @pytest.mark.parametrize(
        ("stage", "counts"),
        [
            ("def run(): return Path(__file__).parent", True),
            ("def run(x): return read(x / 'page.{}')", True),
            ("def run(): return x.files(__package__)", True),
            ("def run(): pass\nHERE = __file__", False),
        ],
    )
    def test_style_sheets_and_tables(self, package, suffix, stage, counts):
        name = f"page.{suffix}"
        write(package, {"group/__init__": "", "group/stage": stage.format(suffix)})
        (package / "group" / name).write_text("1")
        before = code_digests(["pipeline.group.stage:run"])
        (package / "group" / name).write_text("2")
        after = code_digests(["pipeline.group.stage:run"])

        assert (before != after) == counts == (f"pipeline.group.{name}" in after)

    def test_tables_beside_another_module(self, package):
        stage = "from pipeline.group import near\ndef run(x): return Path(near.__file__).with_name(x).read_text()"
        write(package, {"group/__init__": "", "group/near": "", "other/__init__": "", "other/stage": stage})
        (package / "group/page.csv").write_text("1")

        assert "pipeline.group.page.csv" in code_digests(["pipeline.other.stage:run"])


REGISTRY = """
    KNOWN = {}

    def register(function):
        KNOWN[function.__name__] = function
        return function

    def same(function):
        return same_again(function)

    def same_again(function):
        return function

    def calls(function):
        return function()
"""


class TestSideEffectsOfImports:
    """The stage refers to `KNOWN` alone, but a module that it imports can change `KNOWN`."""

    STAGE = "from pipeline.registry import KNOWN\nimport pipeline.plugin\ndef run(): return KNOWN"

    def counts(self, package, plugin, before="return 1", after="return 2"):
        sources = {"stage": self.STAGE, "registry": REGISTRY, "helpers": "def help(): return 5\ndef none(): pass"}
        head = "from pipeline.registry import *\nfrom pipeline import helpers\n" if "*" in plugin else ""
        head = head or "from pipeline.registry import KNOWN, register, same, calls\nfrom pipeline import helpers\n"
        one = code(package, {**sources, "plugin": head + plugin})
        other = code(package, {**sources, "plugin": head + plugin.replace(before, after)})
        return one != other

    @pytest.mark.parametrize(
        "plugin",
        [
            "@register\ndef f(): return 1",
            "@register\nclass A:\n    def f(self): return 1",
            "def f(): return 1\nX = register(f)",
            "def f(): return 1\nX = list(map(register, [f]))",
            "def f(): return 1\nregister(f)",
            "def f(): return 1\nKNOWN['f'] = f",
            "def f(): return 1\nKNOWN.update(f=f)",
            "def f(): return 1\nX = KNOWN.setdefault('f', f)",
            "def f(): return 1\nif KNOWN is not None:\n    KNOWN['f'] = f",
            "def f(): return 1\nfor name in 'f':\n    KNOWN[name] = f",
            "def f(): return 1\ndef g(): KNOWN['f'] = f\nX = g()",
            "def f(): return 1\n@calls\ndef g(): KNOWN['f'] = f",
            "def f(): return 1\n@same\n@register\ndef g(): return f()",
            "def f(): return 1\nclass A:\n    @register\n    def g(self): return f()",
            "def f(): return 1\nclass A:\n    x = register(f)",
            "def f(): return 1\nX = list(map(KNOWN.update, [{'f': f}]))",
            "def f(): return 1\nX = dict.__setitem__(KNOWN, 'f', f)",
            "import operator\ndef f(): return 1\nX = operator.setitem(KNOWN, 'f', f)",
            "def f(): return 1\ndef g():\n    known = KNOWN\n    known |= {'f': f}\nX = g()",
            "class A:\n    def __or__(self, other): KNOWN['f'] = 'return 1'\nX = A() | A()",
            "def f(): return 1\ndef g(x=register(f)): pass",
            "class M(type):\n    def __init__(self, *a): KNOWN[1] = self\nclass A(metaclass=M):\n    x = 'return 1'",
            "class B:\n    def __init_subclass__(cls): KNOWN[1] = cls\nclass A(B):\n    def f(self): return 1",
            "import numba\n@numba.overload(len)\ndef f(): return 1",
            "def f(): return 1\nclass A:\n    KNOWN['f'] = f",
            "def f(): return 1\nclass A:\n    class B:\n        helpers.known = f",
            "def f(): return 1\nX = getattr(KNOWN, 'update')(f=f)",
            "def make():\n    known = KNOWN\n    @known.add\n    class A:\n        def f(self): return 1\nX = make()",
            "def make():\n    x = 0\n    def keep(f):\n        nonlocal x\n        x = f\n    return keep\n"
            "keep = make()\n@keep\ndef f(): return 1",
            "import luigi\nclass A(luigi.Task):\n    def f(self): return 1",
            "x = 1\nx = x + 1\nKNOWN.pop(x)\ndef f(): return 1\nKNOWN[x] = f",
        ],
    )
    def test_count(self, package, plugin):
        assert self.counts(package, plugin)

    @pytest.mark.parametrize(
        "plugin",
        [
            "def f(): return 1",
            "@same\ndef f(): return 1",
            "import functools\n@functools.cache\ndef f(): return 1",
            "import numba\n@numba.njit(nogil=True)\ndef f(): return 1",
            "from numba.extending import intrinsic\n@intrinsic\ndef f(): return 1",
            "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n    def f(self): return 1",
            "class A:\n    x, y = KNOWN, 5\n    def f(self): return 1",
            "class A:\n    @property\n    def f(self): return 1",
            "class A(Exception):\n    def f(self): return 1",
            "import re\nX = re.compile('return 1')",
            "import os\nimport os.path\nX = os, 'return 1'",
            "def f(): return 1\nX = [f, KNOWN]",
            "def f(): return 1\ndef g(): KNOWN['f'] = f",
            "if __name__ == '__main__':\n    print('return 1')",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    X = 'return 1'",
            "@register\ndef g(): pass\ndef f(): return 1",
        ],
    )
    def test_definitions_without_side_effects_do_not_count(self, package, plugin):
        assert not self.counts(package, plugin)

    def test_the_order_counts(self, package):
        one, other = "@register\ndef f(): pass\n", "@register\ndef g(): pass\n"

        assert self.counts(package, one + other, one + other, other + one)

    def test_a_name_bound_twice_counts_in_its_order(self, package):
        assert self.counts(package, "X = 1\nY = X\nX = 2", "Y = X\nX = 2", "X = 2\nY = X")

    @pytest.mark.parametrize("line", ["import pipeline.inner", "from pipeline.inner import f"])
    def test_an_import_in_a_class_counts(self, package, line):
        inner = "from pipeline.registry import register\n@register\ndef f(): return 1"
        sources = {"stage": self.STAGE, "registry": REGISTRY, "plugin": f"class A:\n    {line}", "inner": inner}

        assert "pipeline.inner.f" in code(package, sources)

    def test_an_import_of_a_library_for_its_side_effect_counts(self, package):
        assert self.counts(package, "import seaborn", "seaborn", "matplotlib")

    def test_subclasses_count_where_reachable_code_asks_for_them(self, package):
        stage = "import pipeline.plugin\nfrom pipeline.base import Base\ndef run(): return Base.__subclasses__()"
        plugin = "from pipeline.base import Base\nclass A(Base):\n    def f(self): return 1"
        sources = {"stage": stage, "base": "class Base: pass"}
        before = code(package, {**sources, "plugin": plugin})

        assert code(package, {**sources, "plugin": plugin.replace("1", "2")}) != before


class TestAnyPackage:
    @settings(max_examples=150, deadline=None)
    @given(generated_package.packages())
    def test_an_edit_that_changes_the_result_changes_the_code(self, definitions):
        def outcome(numbers):
            found = generated_package.sources(definitions, numbers)
            files = {name: text.encode() for name, text in found.items()}
            sources = Sources(files, {name: name == generated_package.NAME for name in files}, None)
            return generated_package.run(found), sources.code((f"{generated_package.NAME}.stage:run",))

        numbers = [2**index for index in range(len(definitions))]
        result, code = outcome(numbers)
        for changed, definition in enumerate(definitions):
            other_result, other_code = outcome([n + 1000 * (i == changed) for i, n in enumerate(numbers)])
            assert other_result == result or other_code != code, definition


class TestCache:
    @pytest.fixture
    def cache(self, package, tmp_path):
        stage = "from pipeline.near import helper\ndef run(): return helper()"
        write(package, {"stage": stage, "near": NEAR, "far": FAR})
        return tmp_path / "cache/code.json"

    @pytest.fixture(autouse=True)
    def forgotten(self, monkeypatch):
        """Forget the analyses that this process has made."""
        monkeypatch.setattr(digests, "_MODULES", {})

    def test_changes_nothing(self, cache):
        expected = code_digests(ENTRY)

        assert code_digests(ENTRY, cache) == expected
        assert cache.exists()
        assert code_digests(ENTRY, cache) == expected

    def test_is_used(self, cache, monkeypatch):
        expected = code_digests(ENTRY, cache)
        monkeypatch.setattr(Sources, "_module", pytest.fail)

        assert code_digests(ENTRY, cache) == expected

    def test_only_a_source_that_changed_is_parsed_again(self, package, cache, monkeypatch):
        before = code_digests(ENTRY, cache)
        write(package, {"far": FAR + "\n    X = 1\n"})
        digests._MODULES.clear()
        parsed, parse = [], ast.parse
        monkeypatch.setattr(ast, "parse", lambda source: parsed.append(source) or parse(source))

        assert code_digests(ENTRY, cache) == before
        assert parsed == [(package / "far.py").read_bytes()]

    def test_knows_changed_code(self, package, cache):
        before = code_digests(ENTRY, cache)
        write(package, {"far": FAR.replace("return x", "return -x")})

        after = code_digests(ENTRY, cache)

        assert after == code_digests(ENTRY)
        assert {name for name in after if after[name] != before[name]} == {"pipeline.far.deeper"}

    @pytest.mark.parametrize("name", ["code.json", "definitions.json"])
    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"7", b"[" * 200_000], ids=range(7))
    def test_damaged(self, cache, name, content):
        expected = code_digests(ENTRY, cache)
        cache.unlink()
        cache.with_name(name).write_bytes(content)
        digests._MODULES.clear()

        assert code_digests(ENTRY, cache) == expected
        assert read_sealed(cache.with_name(name))

    @pytest.mark.parametrize("name", ["code.json", "definitions.json"])
    def test_entries_that_are_well_formed_but_altered(self, cache, name):
        expected = code_digests(ENTRY, cache)
        altered = re.sub('"[0-9a-f]{16}"', '"0000000000000000"', cache.with_name(name).read_text())
        cache.unlink()
        cache.with_name(name).write_text(altered)
        digests._MODULES.clear()

        assert code_digests(ENTRY, cache) == expected

    def test_cannot_be_written(self, package, cache):
        assert code_digests(ENTRY, package / "stage.py/code.json") == code_digests(ENTRY)


TRAINING = "pipeline.training.train:train"


class TestThisPackage:
    def test_a_copy_elsewhere_has_the_same_digests(self, tmp_path, monkeypatch):
        entries = [TRAINING, "pipeline.engines.torch.engine:ENGINE"]
        expected = code_digests(entries)
        shutil.copytree(digests.PACKAGE, tmp_path / "pipeline")
        monkeypatch.setattr(digests, "PACKAGE", tmp_path / "pipeline")

        assert code_digests(entries) == expected

    def test_follows_the_references_of_a_stage(self):
        found = code_digests(["pipeline.data.grayscale:make_flat"])

        assert {"pipeline.data.grayscale.grayscale", "pipeline.data.dataset.DatasetWriter"} <= found.keys()
        assert "pipeline.data.grayscale.make_2d" not in found

    def test_the_program_of_theanos_child_counts(self):
        found = code_digests([TRAINING, "pipeline.engines.theano.engine:ENGINE"])

        assert {
            "pipeline.engines.theano.child.network.Training",
            "pipeline.engines.theano.child_process.Child",
        } <= found.keys()
        assert not [name for name in found if name.startswith(("pipeline.report", "pipeline.engines.theano.setup"))]

    @pytest.mark.parametrize("engine", ["numba", "torch"])
    def test_packages_that_a_training_does_not_reach_do_not_count(self, engine):
        found = code_digests([TRAINING, f"pipeline.engines.{engine}.engine:ENGINE"])

        assert not [name for name in found if name.startswith(("pipeline.report", "pipeline.store", "pipeline.web"))]
        assert not {"pipeline.engines.devices.choose", "pipeline.engines.devices.usable"} & found.keys()


EVERYTHING = '''
from __future__ import annotations
from typing import Generic, TypeVar

T = TypeVar("T")
text = "one" f"two {T!r:>{10}} {T:} {T=} {{}}" 'three' rf"\\d{T:%Y-%m}" f"é {T}" f""
numbers = 1_000, 0x10, 1e3, 1e400, 1j, True, None, ..., -1, 10**20
characters = "é\\x00\\u2028\\U0001f600\\U00031350", b"\\xff", u"u"


@property
def f(a, /, b: int = 1, *c, d, e=2, **g) -> "int":
    """Docstring."""
    global x
    x: int = (y := 3)
    del a[1:2, ::3, ...], b
    return [*c, {**g, "k": lambda z=1, *, w: z @ w}, {i for i in c if i if b}, (i async for i in d)]


class A(Generic[T], metaclass=type):
    z: "list[T]"

    async def m(self):
        async with self as a, self as b:
            await a
        while not x < y <= 3 != 4:
            break
        else:
            raise ValueError from None
        try:
            assert x, "message"
        except (A, B) as e:
            pass
        finally:
            nonlocal_ = yield
        match x:
            case {"a": 1, **rest} | [1, *_] | A(b=2) | None | "text" if rest: ...
            case -1 | 1 + 2j as n: ...


try:
    pass
except* ValueError:
    ...
'''

ELSEWHERE = """
import json, sys
from pathlib import Path
from pipeline.store.code import digests

digests.PACKAGE = Path(sys.argv[1])
print(json.dumps([digests.Sources.read().code((entry,)) for entry in sys.argv[2:]]))
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_same_on_every_python(tmp_path, monkeypatch, version):
    """Equal digests mean that a new Python keeps all results."""
    shutil.copytree(digests.PACKAGE, tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pipeline/everything.py").write_text(EVERYTHING)
    monkeypatch.setattr(digests, "PACKAGE", tmp_path / "pipeline")
    entries = ["pipeline.everything:", "pipeline:"]

    elsewhere = json.loads(run_python(version, "-c", ELSEWHERE, tmp_path / "pipeline", *entries))

    assert elsewhere == [code_digests([entry]) for entry in entries]
    assert len(elsewhere[1]) > 1000


def run_python(version, *arguments):
    """Run a version of Python without any installed library; skip the test where it is not there."""
    python = shutil.which(f"python{version}") or pytest.skip(f"no Python {version}")
    # pyenv puts a command of this name in the path even where another version is chosen.
    environment = os.environ | {"PYENV_VERSION": version}
    if subprocess.run([python, "-V"], env=environment, capture_output=True, check=False).returncode:
        pytest.skip(f"{python} starts no Python {version}")
    command = [python, "-S", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
