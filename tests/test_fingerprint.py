from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from pipeline.files.json_cache import read_sealed, write_sealed
from pipeline.store import fingerprint
from pipeline.store.fingerprint import code_digests, source_name

ROOT = Path(__file__).parents[1]

STAGE = '''
"""Compute things."""

from __future__ import annotations

import math
from collections.abc import Iterator

SCALE = 2.5


def area(radius: float) -> float:
    """Return the area."""
    return SCALE * radius**2 * math.pi  # an area


class Shape:
    """A shape."""

    def grow(self, by: int = 1) -> Iterator[int]:
        if by > 1:
            print(f"grows by {by!r:>{by}} {by=}")
        yield from range(by)
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the folder of a package of its own, which `fingerprint` takes for the one to look at."""
    folder = tmp_path / "pipeline"
    monkeypatch.setattr(fingerprint, "PACKAGE", folder)
    write(folder, {"__init__": ""})
    return folder


def write(folder, sources):
    for name, source in sources.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))


def digest(package, source):
    write(package, {"stage": source})
    return code_digests(["pipeline.stage"])["pipeline.stage"]


class TestWhatDoesNotCount:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("  # an area", ""),
            ("SCALE = 2.5", "# a constant\n\n\nSCALE = (\n    2.5\n)  # type: ignore"),
            ("SCALE = 2.5", "SCALE=2.50"),
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
            ("\n", "\n\n"),
            ("    ", "\t"),
        ],
    )
    def test_writing(self, package, before, after):
        assert before in STAGE

        assert digest(package, STAGE.replace(before, after)) == digest(package, STAGE)

    def test_line_ends(self, package):
        expected = digest(package, STAGE)
        (package / "stage.py").write_bytes(b"\xef\xbb\xbf" + STAGE.replace("\n", "\r\n").encode())

        assert code_digests(["pipeline.stage"])["pipeline.stage"] == expected

    @pytest.mark.parametrize(
        "imports",
        [
            "import a, b, c\nfrom d import e, f as g",
            "from d import (\n    f as g,\n    e,\n)\nimport c\n\nimport b\nimport a",
            "import c, a\nfrom d import f as g\nimport b\nfrom d import e  # noqa",
        ],
    )
    def test_how_imports_are_written(self, package, imports):
        rest = "\n\nx = a.y"

        assert digest(package, imports + rest) == digest(
            package, "import a\nimport b\nimport c\nfrom d import e\nfrom d import f as g" + rest
        )

    def test_a_body_that_is_only_a_docstring(self, package):
        assert digest(package, 'class A(B):\n    """Nothing."""') == digest(package, "class A(B): ...")


class TestWhatCounts:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("2.5", "2.6"),
            ("SCALE = 2.5", "SCALE = '2.5'"),
            ("SCALE = 2.5", "SCALE = 2.5\nprint(SCALE)"),
            ("radius**2", "radius**3"),
            ("by > 1", "by >= 1"),
            ("by: int = 1", "by: int"),
            ("by: int = 1", "*, by: int = 1"),
            ("grows by", "grew by"),
            ("!r", "!s"),
            (">{by}", "<{by}"),
            ("yield from", "return"),
            ("import math", "import cmath as math"),
            ("from collections.abc import Iterator", "from typing import Iterator"),
            ("class Shape", "@final\nclass Shape"),
            ("class Shape", "class Shapes"),
            ("math.pi", "math.e"),
        ],
    )
    def test_change(self, package, before, after):
        assert before in STAGE

        assert digest(package, STAGE.replace(before, after)) != digest(package, STAGE)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("x = 1", "x = 1.0"),
            ("x = 1", "x = True"),
            ("x = 'a'", "x = b'a'"),
            ("x = ['']", "x = []"),
            ("f('', a)", "f(a)"),
            ("x = 0.0", "x = -0.0"),
            ("x = y[1:]", "x = y[:1]"),
            ("def f():\n    return 'text'", "def f():\n    'text'"),
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
            ("import a as x\nfrom b import x", "from b import x\nimport a as x"),
            ("import a.x\nfrom b import a", "from b import a\nimport a.x"),
            ("from a import *\nfrom b import x", "from b import x\nfrom a import *"),
        ],
    )
    def test_difference(self, package, one, other):
        assert digest(package, one) != digest(package, other)

    def test_formatted_with_an_empty_specification(self, package):
        assert digest(package, "f'{x}'") != digest(package, "f'{x:>3}'")


SOURCES = {
    "stage": "from pipeline import near\nfrom pipeline.group import inner\n",
    "near": "import pipeline.far\n\nimport numpy\n",
    "far": "def f():\n    from pipeline import lazy\n",
    "lazy": "X = 1\n",
    "group/__init__": "from pipeline.group import part\n",
    "group/part": "Y = 1\n",
    "group/inner": "from pipeline.group.deep.module import z\n",
    "group/deep/__init__": "",
    "group/deep/module": "z = 1\n",
    "unrelated": "X = 1\n",
}


class TestImports:
    def test_at_any_depth(self, package):
        write(package, SOURCES)

        assert list(code_digests(["pipeline.stage"])) == [
            "pipeline",
            "pipeline.far",
            "pipeline.group",
            "pipeline.group.deep",
            "pipeline.group.deep.module",
            "pipeline.group.inner",
            "pipeline.group.part",
            "pipeline.lazy",
            "pipeline.near",
            "pipeline.stage",
        ]

    @pytest.mark.parametrize("changed", [name for name in SOURCES if name != "unrelated"])
    def test_a_change_in_one_changes_its_digest_alone(self, package, changed):
        write(package, SOURCES)
        before = code_digests(["pipeline.stage"])
        write(package, {changed: SOURCES[changed] + "\nCHANGED = 1\n"})

        after = code_digests(["pipeline.stage"])

        name = "pipeline." + changed.removesuffix("/__init__").replace("/", ".")
        assert {module for module in before if before[module] != after[module]} == {name}

    def test_a_change_elsewhere_changes_nothing(self, package):
        write(package, SOURCES)
        before = code_digests(["pipeline.stage"])
        write(package, {"unrelated": "X = 2"})

        assert code_digests(["pipeline.stage"]) == before

    @pytest.mark.parametrize(
        ("importer", "statement", "found"),
        [
            ("stage", "from . import near", {"pipeline.near"}),
            ("stage", "from .near import x", {"pipeline.near"}),
            ("stage", "from .group import inner", {"pipeline.group", "pipeline.group.inner"}),
            ("group/inner", "from . import part", {"pipeline.group", "pipeline.group.part"}),
            ("group/inner", "from .part import y", {"pipeline.group", "pipeline.group.part"}),
            ("group/inner", "from .. import near", {"pipeline.near"}),
            ("group/inner", "from ..near import x as y", {"pipeline.near"}),
            ("group/__init__", "from . import part", {"pipeline.group.part"}),
            ("group/__init__", "from .part import y", {"pipeline.group.part"}),
            ("group/__init__", "from .. import near", {"pipeline.near"}),
            ("group/__init__", "from ..near import x", {"pipeline.near"}),
            (
                "group/deep/module",
                "from ...group.deep import *",
                {"pipeline.group", "pipeline.group.deep"},
            ),
            ("group/deep/__init__", "from ..part import y", {"pipeline.group", "pipeline.group.part"}),
            ("stage", "import pipeline.group.deep", {"pipeline.group", "pipeline.group.deep"}),
            ("stage", "import numpy.linalg, near", set()),
            ("stage", "import pipelines.near", set()),
            ("stage", "from pipeline import nothing_of_this_name", set()),
        ],
    )
    def test_each_way_to_import(self, package, importer, statement, found):
        empty = dict.fromkeys(SOURCES, "")
        write(package, empty | {importer: statement})
        module = "pipeline." + importer.removesuffix("/__init__").replace("/", ".")

        parts = module.split(".")
        above = {".".join(parts[:end]) for end in range(1, len(parts))}

        assert code_digests([module]).keys() - above == (found | {module}) - above

    def test_circles_end(self, package):
        write(package, {"stage": "from pipeline import near", "near": "from pipeline import stage"})

        assert list(code_digests(["pipeline.stage"])) == ["pipeline", "pipeline.near", "pipeline.stage"]

    def test_the_packages_above_a_module_count(self, package):
        """Their code runs when the module is imported."""
        write(package, SOURCES)

        assert {"pipeline", "pipeline.group", "pipeline.group.part"} <= code_digests(["pipeline.group.part"]).keys()

    @pytest.mark.parametrize("name", ["page.css", "figures.csv"])
    def test_a_package_has_its_style_sheets_and_tables(self, package, name):
        write(package, SOURCES)
        (package / "group" / name).write_text("1")
        before = code_digests(["pipeline.stage"])
        (package / "group" / name).write_text("2")

        after = code_digests(["pipeline.stage"])

        assert {module for module in before if before[module] != after[module]} == {f"pipeline.group.{name}"}
        assert code_digests(before) == after
        assert source_name(f"pipeline.group.{name}") == f"pipeline/group/{name}"
        assert f"pipeline.group.{name}" not in code_digests(["pipeline.near"])

    def test_what_is_not_there_has_no_digest(self, package):
        assert code_digests(["pipeline.absent", "numpy"]).keys() <= {"pipeline"}


class TestCache:
    @pytest.fixture
    def cache(self, package, tmp_path):
        write(package, SOURCES)
        return tmp_path / "cache/code.json"

    def test_changes_nothing(self, cache):
        expected = code_digests(["pipeline.stage"])

        assert code_digests(["pipeline.stage"], cache) == expected
        assert cache.exists()
        assert code_digests(["pipeline.stage"], cache) == expected

    def test_is_used(self, cache, monkeypatch):
        expected = code_digests(["pipeline.stage"], cache)
        monkeypatch.setattr(ast, "parse", pytest.fail)

        assert code_digests(["pipeline.stage"], cache) == expected

    def test_knows_changed_code(self, package, cache):
        before = code_digests(["pipeline.stage"], cache)
        write(package, {"lazy": "X = 2"})

        after = code_digests(["pipeline.stage"], cache)

        assert after == code_digests(["pipeline.stage"])
        assert after != before

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"7"])
    def test_damaged(self, cache, content):
        expected = code_digests(["pipeline.stage"], cache)
        cache.write_bytes(content)

        assert code_digests(["pipeline.stage"], cache) == expected
        assert len(read_sealed(cache)) >= 3

    @pytest.mark.parametrize("entry", [None, 5, "text", [], [1], {}, {"code": 5}, {"imports": []}])
    def test_damaged_entries(self, cache, entry):
        expected = code_digests(["pipeline.stage"], cache)
        write_sealed(cache, dict.fromkeys(read_sealed(cache), entry))

        assert code_digests(["pipeline.stage"], cache) == expected

    @pytest.mark.parametrize(
        ("old", "new"), [('"imports": ["', '"imports": ["pipeline.absent", "'), ('"code": "', '"code": "0')]
    )
    def test_entries_that_are_well_formed_but_altered(self, cache, old, new):
        expected = code_digests(["pipeline.stage"], cache)
        cache.write_text(cache.read_text().replace(old, new))

        assert code_digests(["pipeline.stage"], cache) == expected

    def test_cannot_be_written(self, package):
        write(package, SOURCES)

        assert code_digests(["pipeline.stage"], package / "stage.py/code.json") == code_digests(["pipeline.stage"])


class TestThisPackage:
    def test_a_copy_elsewhere_has_the_same_digests(self, tmp_path, monkeypatch):
        expected = code_digests(["pipeline.training.train", "pipeline.engines.torch.engine"])
        shutil.copytree(fingerprint.PACKAGE, tmp_path / "pipeline")
        monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path / "pipeline")

        assert code_digests(["pipeline.training.train", "pipeline.engines.torch.engine"]) == expected

    def test_follows_what_a_stage_imports(self):
        modules = code_digests(["pipeline.data.grayscale"])

        assert {"pipeline.data.grayscale", "pipeline.data.dataset", "pipeline.errors"} <= modules.keys()
        assert "pipeline.training.train" not in modules

    @pytest.mark.parametrize(
        "module", ["pipeline.data.grayscale", "pipeline.engines.engine", "pipeline", "pipeline.absent"]
    )
    def test_names_sources_as_one_types_them(self, module):
        assert (
            source_name(module)
            == {
                "pipeline.data.grayscale": "pipeline/data/grayscale.py",
                "pipeline.engines.engine": "pipeline/engines/engine.py",
                "pipeline": "pipeline/__init__.py",
                "pipeline.absent": "pipeline/absent.py",
            }[module]
        )


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
from pipeline.store import fingerprint

fingerprint.PACKAGE = Path(sys.argv[1])
print(json.dumps(fingerprint.code_digests(sys.argv[2:])))
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_same_on_every_python(tmp_path, monkeypatch, version):
    """Else a new Python would compute everything again."""
    shutil.copytree(fingerprint.PACKAGE, tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pipeline/everything.py").write_text(EVERYTHING)
    modules = [
        f"pipeline.{'.'.join(path.relative_to(fingerprint.PACKAGE).with_suffix('').parts)}"
        for path in fingerprint.PACKAGE.rglob("*.py")
        if path.stem not in ("__init__", "__main__")
    ]

    elsewhere = json.loads(run_python(version, "-c", ELSEWHERE, tmp_path / "pipeline", "pipeline.everything", *modules))

    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path / "pipeline")
    assert elsewhere == code_digests(["pipeline.everything", *modules])
    assert len(elsewhere) > 20


def run_python(version, *arguments):
    """Run a version of Python without any installed library; skip the test where it is not there."""
    python = shutil.which(f"python{version}") or pytest.skip(f"no Python {version}")
    # pyenv puts a command of this name in the path even where another version is chosen.
    environment = os.environ | {"PYENV_VERSION": version}
    if subprocess.run([python, "-V"], env=environment, capture_output=True, check=False).returncode:
        pytest.skip(f"{python} starts no Python {version}")
    command = [python, "-S", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
