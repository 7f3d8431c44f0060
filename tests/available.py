"""Check which engines and programs this machine can run."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from pipeline.engines import devices, nvidia
from pipeline.engines.engine import load_engine
from pipeline.engines.theano import setup
from pipeline.errors import DeviceError, EngineError

THEANO = pytest.param("theano", marks=pytest.mark.registry)
ON_CPU = [engine for engine, traits in devices.ENGINES.items() if not traits.without_cpu]
ENGINES = [THEANO if engine == "theano" else engine for engine in ON_CPU]
"""The engines that compute on a CPU, as parameters of a test; the first test that needs Theano installs it."""


def require(engine):
    """Skip the test if the engine cannot be installed; build Theano's environment if it can."""
    if engine != "theano":
        pytest.importorskip(engine)
        return
    try:
        setup.find_python(setup.find_compiler())
    except EngineError as error:
        pytest.skip(f"Theano cannot be installed here: {str(error).splitlines()[0]}")
    setup.build()


def has_gpu():
    """Check whether CUDA sees a GPU."""
    try:
        return bool(nvidia.visible())
    except DeviceError:
        return False


def triton_engine(**settings):
    """Return the triton engine, on a GPU or else in Triton's interpreter; skip the test where Triton is missing."""
    pytest.importorskip("triton")
    return load_engine("triton", "cuda" if has_gpu() else "cpu", **settings)


def node():
    """Return the program of Node.js; where there is none of version 18 or later, skip the test, or fail in CI."""
    program = shutil.which("node")
    if program:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").partition(".")[0]) >= 18:
            return program
    missing = "no Node.js 18 or later found; https://nodejs.org has it"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    return pytest.skip(missing)


def run_node(*arguments, given=None, status=0):
    """Run Node.js with a text as its input; return what it prints."""
    command = [node(), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout
