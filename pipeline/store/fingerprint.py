"""The code of a stage as a digest that changes only when the code's meaning can.

What counts is the syntax tree, so that comments and formatting do not; docstrings are taken out of it, and so is the
order of neighbouring imports, unless two of them bind the same name. A module stands for itself and for every module of
this package that it imports, at any depth; a package stands also for the style sheets and the tables in its folder.
Nothing is imported to find this out: the sources are read.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.files import loaded_sources
from pipeline.files.json_cache import read_sealed, write_sealed

PACKAGE = Path(__file__).parents[1]
"""The folder of the package whose modules count; what it imports from elsewhere does not."""

DATA_SUFFIXES = (".css", ".csv")
"""Files in a package's folder that its modules read."""

_IGNORED_FIELDS = {"ctx", "kind", "type_comment"}
"""Fields of a syntax tree that say nothing new, or that differ between versions of Python."""


def code_digests(modules: Iterable[str], cache: Path | None = None) -> dict[str, str]:
    """Digest modules and all that they import from their own package.

    Parameters
    ----------
    modules : iterable of str
        Full names, such as ``"pipeline.data.grayscale"``.
    cache : Path, optional
        A file that remembers what each source came to, since parsing is slower than all the rest.

    Returns
    -------
    dict
        A digest for each module's name.
    """
    return _code_digests(modules, cache, _sources(), read_sealed(cache) if cache else {})


@functools.cache
def code_at_start(modules: tuple[str, ...], cache: Path | None) -> dict[str, str]:
    """Return what `code_digests` returned for these modules the first time in this process.

    Raises
    ------
    StoreError
        As `check_loaded` does.
    """
    digests = _code_digests(modules, cache, *_at_start(cache))
    check_loaded(digests)
    return digests


def check_loaded(digests: Mapping[str, str]) -> None:
    """Compare the code that this process has loaded with digests of what is on the disk.

    Raises
    ------
    StoreError
        A module was edited after it had been loaded.
    """
    for module, (path, loaded) in loaded_sources.SOURCES.items():
        edited = [source for source in loaded if source != path.read_bytes()] if module in digests else []
        if any(_analyse(source, path)["code"] != digests[module] for source in edited):
            raise StoreError(
                f"{source_name(module)} was edited after this process had loaded it, so that it would compute with the "
                "old code. Run the same command again; in a notebook, restart the kernel."
            )


def source_name(module: str) -> str:
    """Return a module's file as one would type it: ``pipeline/data/grayscale.py``."""
    path = module.replace(".", "/")
    folder, _, suffix = path.rpartition("/")
    for name in (f"{path}/__init__.py", f"{folder}.{suffix}"):  # a package, a style sheet or a table
        if (PACKAGE.parent / name).is_file():
            return name
    return f"{path}.py"


@functools.cache
def _at_start(cache: Path | None) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return the sources, and what the cache holds, as they were the first time in this process."""
    return _sources(), read_sealed(cache) if cache else {}


def _code_digests(
    modules: Iterable[str], cache: Path | None, sources: Mapping[str, Path], known: dict[str, Any]
) -> dict[str, str]:
    """Digest modules with these sources; ``known`` is what the cache holds, and is brought up to date."""
    this_analysis = Path(__file__).read_bytes()
    analysed: dict[str, dict[str, Any]] = {}
    digests: dict[str, str] = {}
    waiting = list(_absolute(modules, "", is_package=False))
    while waiting:
        module = waiting.pop()
        path = sources.get(module)
        if module in digests or path is None:
            continue
        source = path.read_bytes()
        source_digest = hashlib.sha256(this_analysis + path.suffix.encode() + source).hexdigest()
        remembered = known.get(source_digest, {})
        analysis = remembered if _is_analysis(remembered) else _analyse(source, path)
        analysed[source_digest] = analysis
        digests[module] = analysis["code"]
        is_package = path.name == "__init__.py"
        waiting += _absolute(analysis["imports"], module, is_package=is_package)
        waiting += _data_files(path.parent, sources) if is_package else []
    if cache is not None and not analysed.items() <= known.items():
        known.update(analysed)
        write_sealed(cache, known)
    return dict(sorted(digests.items()))


def _sources() -> dict[str, Path]:
    """Find the source of every module of the package by its full name, and every data file by such a name."""
    data_files = (path for suffix in DATA_SUFFIXES for path in PACKAGE.rglob(f"*{suffix}"))
    found = {".".join(path.relative_to(PACKAGE.parent).parts): path for path in data_files}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _data_files(folder: Path, sources: Mapping[str, Path]) -> list[str]:
    return [name for name, path in sources.items() if path.parent == folder and path.suffix in DATA_SUFFIXES]


def _analyse(source: bytes, path: Path) -> dict[str, Any]:
    if path.suffix in DATA_SUFFIXES:
        return {"code": hashlib.sha256(source).hexdigest(), "imports": []}
    tree = ast.parse(source, path)
    description = json.dumps(_describe(tree), separators=(",", ":"))
    return {"code": hashlib.sha256(description.encode()).hexdigest(), "imports": sorted(_imported(tree))}


def _is_analysis(entry: Any) -> bool:
    """Tell whether an entry of the cache is one, whatever became of the file."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("code"), str)
        and isinstance(entry.get("imports"), list)
        and all(isinstance(name, str) for name in entry["imports"])
    )


def _imported(tree: ast.Module) -> set[str]:
    """Names that may be modules: ``from a import b`` gives ``a`` and ``a.b``; relative ones keep their dots."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            separator = "" if base.endswith(".") else "."
            names.update([base, *(f"{base}{separator}{alias.name}" for alias in node.names)])
    return names


def _absolute(names: Iterable[str], importer: str, *, is_package: bool) -> Iterator[str]:
    """Resolve relative names, and add the packages on the way, whose code runs as well."""
    for name in names:
        level = len(name) - len(name.lstrip("."))
        if level:
            kept = importer.split(".")[: None if is_package and level == 1 else is_package - level]
            parts = [*kept, *filter(None, name[level:].split("."))]
        else:
            parts = name.split(".")
        for end in range(1, len(parts) + 1):
            yield ".".join(parts[:end])


def _describe(node: Any) -> Any:
    """Turn a syntax tree into plain lists that are the same on every version of Python."""
    if isinstance(node, list):
        return [_describe(item) for item in _normal_statements(node)]
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, ascii(node.value)]
    if isinstance(node, ast.JoinedStr):
        # Python 3.12 puts an empty string at the end of some format specifications.
        return ["JoinedStr", [_describe(part) for part in node.values if getattr(part, "value", None) != ""]]
    if not isinstance(node, ast.AST):
        return repr(node)
    described = {
        name: _describe(value)
        for name, value in ast.iter_fields(node)
        if name not in _IGNORED_FIELDS and value is not None and value != []
    }
    return [type(node).__name__, described]


def _normal_statements(nodes: list[Any]) -> Iterator[Any]:
    """Leave out docstrings; bring neighbouring imports into a fixed order, a name each."""
    imports: list[ast.Import | ast.ImportFrom] = []
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports += _one_import_a_name(node)
            continue
        yield from _in_fixed_order(imports)
        imports = []
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield node
    yield from _in_fixed_order(imports)


def _one_import_a_name(node: ast.Import | ast.ImportFrom) -> list[ast.Import | ast.ImportFrom]:
    if isinstance(node, ast.Import):
        return [ast.Import(names=[alias]) for alias in node.names]
    return [ast.ImportFrom(module=node.module, names=[alias], level=node.level) for alias in node.names]


def _in_fixed_order(imports: list[ast.Import | ast.ImportFrom]) -> list[ast.Import | ast.ImportFrom]:
    """Sort imports where their order cannot matter; of several that bind one name, the last one counts."""
    bound: dict[str, str] = {}
    for node in imports:
        name, value = _binding(node)
        if name == "*" or bound.setdefault(name, value) != value:
            return imports
    return sorted(imports, key=ast.dump)


def _binding(node: ast.Import | ast.ImportFrom) -> tuple[str, str]:
    """Return the name that an import of one name binds, and what to: ``import a.b`` binds ``a`` to the package."""
    alias = node.names[0]
    if isinstance(node, ast.ImportFrom):
        return alias.asname or alias.name, f"{'.' * node.level}{node.module or ''} {alias.name}"
    top = alias.name.partition(".")[0]
    return (alias.asname, alias.name) if alias.asname else (top, top)
