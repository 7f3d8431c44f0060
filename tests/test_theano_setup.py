"""Find a Python and a compiler and build an environment, with real interpreters and a real pip."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.engines.theano import environment, setup
from pipeline.errors import EngineError
from tests.made_up_packages import wheel

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A bare machine: PATH and home are one empty folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("THEANO_PYTHON", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    # The running Python is a candidate whatever PATH is.
    monkeypatch.setattr(sys, "executable", str(folder / "none"))
    return folder


@pytest.fixture
def compiler():
    try:
        return setup.find_compiler()
    except EngineError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture
def real(compiler, monkeypatch):
    """A Python of this machine on which Theano runs."""
    monkeypatch.delenv("THEANO_PYTHON", raising=False)
    try:
        return setup.find_python(compiler)
    except EngineError as error:
        pytest.skip(str(error).splitlines()[0])


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class TestFindCompiler:
    def test_without_one_the_message_names_the_command_to_install_it(self, bare):
        with pytest.raises(EngineError, match=r"g\+\+ is not on PATH(.|\n)*sudo apt install g\+\+"):
            setup.find_compiler()

    def test_finds_the_one_on_path(self, bare):
        compiler = program(bare, setup.COMPILER, "exit 0")
        assert setup.find_compiler() == str(compiler)


class TestFindPython:
    def test_without_one_the_message_names_the_versions_and_the_ways_to_install_them(self, bare):
        with pytest.raises(EngineError) as caught:
            setup.find_python("g++")
        message = str(caught.value)
        assert "Python 3.9, 3.10 or 3.11" in message
        assert "There is no Python on PATH" in message
        for way in (
            "apt install",
            "dnf install",
            "brew install",
            "pyenv install",
            "uv python install",
            "THEANO_PYTHON=",
        ):
            assert way in message

    def test_the_message_has_a_reason_for_each_candidate(self, bare):
        answer = '{"version": "3.13", "has_venv": true, "headers": "", "libraries": [], "library": ""}'
        program(bare, "python3", f"echo '{answer}'")
        program(bare, "python3.11", "exit 127")
        with pytest.raises(EngineError) as caught:
            setup.find_python("g++")
        assert f"{bare}/python3: is Python 3.13\n" in str(caught.value)
        assert f"{bare}/python3.11: does not run\n" in str(caught.value)

    def test_one_without_headers_is_refused(self, bare):
        answer = '{"version": "3.11", "has_venv": true, "headers": "/nowhere", "libraries": [], "library": ""}'
        program(bare, "python3.11", f"echo '{answer}'")
        with pytest.raises(EngineError, match=r"/nowhere/Python.h is missing"):
            setup.find_python("g++")

    def test_theano_python_is_the_only_candidate(self, monkeypatch):
        monkeypatch.setenv("THEANO_PYTHON", "/nowhere/python")
        with pytest.raises(EngineError, match=r"THEANO_PYTHON names no such(.|\n)*/nowhere/python: does not run"):
            setup.find_python("g++")

    def test_one_that_cannot_be_extended_is_refused(self, real, bare, monkeypatch):
        compiler = program(bare, "broken", "echo 'ld: cannot find -lpython' >&2; exit 1")
        monkeypatch.setenv("THEANO_PYTHON", real.path)
        with pytest.raises(EngineError, match=r"cannot be extended in C\+\+ \(ld: cannot find -lpython\)"):
            setup.find_python(str(compiler))

    def test_finds_pyenvs(self, real, compiler, bare):
        folder = bare.parent / ".pyenv" / "versions" / "3" / "bin"
        folder.mkdir(parents=True)
        program(folder, f"python{real.version}", f'exec {real.path} "$@"')
        with_its_tools = program(bare, "compiler", f'PATH=/usr/bin:/bin exec {compiler} "$@"')
        found = setup.find_python(str(with_its_tools))
        assert found.version == real.version
        assert Path(found.path).parent == folder


class TestBuild:
    """The real builder, venv and pip, with two small packages from a folder in place of Theano's."""

    @pytest.fixture(autouse=True)
    def small_environment(self, real, monkeypatch, tmp_path):
        monkeypatch.setattr(environment, "ENVIRONMENT", tmp_path / "venv")
        monkeypatch.setattr(environment, "CACHE", tmp_path / "cache")
        monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "theano.txt")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        lines = wheel(tmp_path, "setuptools", "75.8.0") + wheel(tmp_path, "greeting", "1.0")
        environment.REQUIREMENTS.write_text(lines)

    def greets(self):
        command = [environment.interpreter(), "-c", "import greeting_is_here"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def test_builds_once(self):
        printed = []
        assert not environment.is_ready()
        assert setup.build(printed.append) == environment.interpreter()
        assert environment.is_ready()
        assert self.greets()
        count = len(printed)
        setup.build(printed.append)
        assert count == len(printed)

        environment.REQUIREMENTS.write_text(environment.REQUIREMENTS.read_text() + "# another\n")
        assert not environment.is_ready()

    def test_builds_a_half_built_environment_again(self, tmp_path):
        remains = environment.ENVIRONMENT / "bin" / "python"
        remains.parent.mkdir(parents=True)
        remains.write_text("half a file")
        setup.build([].append)
        assert self.greets()

    def test_two_at_once_build_once(self):
        printed = []
        threads = [threading.Thread(target=setup.build, args=(printed.append,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.greets()
        assert len([line for line in printed if line.startswith("Building")]) == 1

    def test_a_package_with_another_hash_is_refused(self, tmp_path):
        wheel_file = tmp_path / "greeting-1.0-py3-none-any.whl"
        wheel_file.write_bytes(wheel_file.read_bytes() + b"more")
        with pytest.raises(EngineError, match=r"cannot be built.*installation\.log"):
            setup.build([].append)
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" in (tmp_path / "cache" / "installation.log").read_text()
        assert not environment.is_ready()


class TestRequirements:
    def test_every_library_is_pinned_and_hashed(self):
        versions = environment.versions()
        assert versions["theano"] == "1.0.5"
        assert versions["lasagne"] == "0.1"
        assert versions["nolearn"] == "0.6.1"
        entries = environment.REQUIREMENTS.read_text().replace("\\\n", " ").splitlines()
        assert all("--hash=sha256:" in entry for entry in entries if entry)
        assert "//" not in environment.REQUIREMENTS.read_text()


class TestCommand:
    def test_fails_with_the_message_alone(self, tmp_path):
        """Without packages, compiler, home and a Python for Theano."""
        base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
        result = subprocess.run(
            [base, "-S", "-m", "pipeline.engines.theano.setup"],
            cwd=PROJECT,
            env={"PATH": str(tmp_path), "HOME": str(tmp_path), "THEANO_PYTHON": "/nowhere/python"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.startswith("Theano needs a C++ compiler, but there is none")
        assert "Traceback" not in result.stderr
