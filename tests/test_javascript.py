"""The page's JavaScript: its modules, the one script that they make, and what `make lint` checks them with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from pipeline.report import script
from tests.available import run_node
from tests.checkout import ROOT

MODULES = ROOT / "tests" / "javascript"


def test_modules():
    run_node("--test", "--test-reporter=spec", *sorted(map(str, MODULES.glob("*.test.js"))))


@pytest.mark.parametrize(
    "values",
    [
        np.float32([[0, -1.5, 0.1], [1e-40, np.inf, 3e38]]),
        np.array([1, -2, 70_000], ">i4"),
        np.uint8([0, 255, 7])[::-1],
    ],
    ids=["float32", "another byte order", "uint8, reversed"],
)
def test_a_page_unpacks_what_python_packs(values):
    kinds = {"f4": "Float32Array", "i4": "Int32Array", "u1": "Uint8Array"}
    program = (
        f'import {{ unpack }} from "{(script.FOLDER / "packed.js").as_uri()}";'
        f'const values = await unpack("{script.packed(values)}", {kinds[values.dtype.str[1:]]});'
        "console.log(JSON.stringify(Array.from(values, String)));"
    )
    unpacked = json.loads(run_node("--input-type=module", "--eval", program))
    assert np.array_equal(np.array(unpacked, float).astype(values.dtype), values.ravel())


class TestScript:
    def test_is_valid_and_declares_each_name_once(self, tmp_path):
        """A name that is declared twice in a block is a syntax error, as are an import and an export inside one."""
        (tmp_path / "script.cjs").write_text(script.script_text())
        run_node("--check", str(tmp_path / "script.cjs"))
        (tmp_path / "script.cjs").write_text('"use strict"; { function twice() {} function twice() {} }')
        run_node("--check", str(tmp_path / "script.cjs"), status=1)

    def test_has_every_file_after_those_that_it_imports(self):
        paths = [script.FOLDER / name for name in script.FILES]
        assert sorted(paths) == sorted(script.FOLDER.rglob("*.js"))
        for place, path in enumerate(paths):
            imported = re.findall(r'^import [^;]* from "(.*)";$', path.read_text(), re.M)
            assert {(path.parent / name).resolve() for name in imported} <= set(paths[:place]), path

    @pytest.mark.parametrize("name", script.FILES)
    def test_needs_no_name_that_imports_and_exports_give(self, name):
        """The files share one block, in which a name is what it is called in its own file."""
        text = (script.FOLDER / name).read_text()
        assert not re.findall(r"^export (?:default|\{|\*).*|^import (?!\{).*|^import [^;]* as .*", text, re.M)

    def test_does_not_end_its_element(self):
        """The browser looks for these in a script before it reads it as one."""
        assert not re.findall(r"</script|<script|<!--", script.script_text(), re.I)

    def test_loads_nothing_and_makes_no_code_or_markup_of_text(self):
        forbidden = (
            r"\beval\(|\bFunction\(|\bimport\(|\bWorker\(|\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon"
            r"|innerHTML|outerHTML|insertAdjacentHTML|document\.write"
        )
        without_comments = re.sub(r"/\*.*?\*/", "", script.script_text(), flags=re.S)
        assert re.findall(forbidden, without_comments) == []


class TestPageData:
    def test_does_not_end_its_element(self):
        data = {"name": "</script><!-- <script>", "numbers": [1, 2.5], "text": "čtyři & <b>"}
        [text] = re.findall(r"<script[^>]*>([^<]*)</script>", script.page_data(data))
        assert json.loads(text) == data


class TestCheckers:
    PINNED = ROOT / "requirements" / "javascript"

    def test_are_pinned_with_their_content_and_come_from_the_public_registry(self):
        asked = json.loads((self.PINNED / "package.json").read_text())["devDependencies"]
        packages = json.loads((self.PINNED / "package-lock.json").read_text())["packages"]
        assert packages.pop("")["devDependencies"] == asked
        assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked
        for name, package in packages.items():
            assert package["integrity"].startswith("sha512-"), name
            assert package["resolved"].startswith("https://registry.npmjs.org/"), name

    @pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 2)])
    def test_are_left_out_without_node(self, tmp_path, ci, status):
        for name in ("Makefile", "tasks/configuration/make_variables.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
        shutil.copytree(self.PINNED, tmp_path / "requirements" / "javascript")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "node").write_text("#!/bin/sh\nexit 127\n")
        (tmp_path / "bin" / "node").chmod(0o755)
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CI": ci}
        command = ["make", "--no-print-directory", "lint-javascript"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert done.stdout == (
            "No Node.js 18 or later with npm found: the JavaScript is not checked. https://nodejs.org has both.\n"
        )
        assert not (tmp_path / ".venv-javascript").exists()
