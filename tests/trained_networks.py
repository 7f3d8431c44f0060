"""Networks trained for a moment on random images, kept where the pipeline keeps its results."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from pipeline.data.dataset import GRAYSCALE_NAME, DatasetWriter
from pipeline.data.grayscale import grayscale
from pipeline.networks.declared import find_network
from pipeline.progress.monitor import SILENT
from pipeline.store import results
from pipeline.store.latest import point_latest
from pipeline.store.record import Record
from pipeline.store.stage import Stage
from tests.checkout import ROOT, libraries

CLASSES = [f"class {label}" for label in "abcdefghij"]


def color_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), np.uint8)


def write_data(folder, network, test):
    """Write a gray data set of random images, whose test images are those given, in color."""
    shape = find_network(network).architecture["input_shape"][1:]
    folder.mkdir(parents=True)
    with DatasetWriter(folder / GRAYSCALE_NAME) as writer:
        for split, color in (("train", color_images(60, seed=1)), ("test", test)):
            labels = np.arange(len(color), dtype=np.uint8) % 10
            writer.put(split, 0, grayscale(color).reshape(-1, *shape), labels, total=len(color))
        writer.describe("random images", CLASSES, "ab" * 32)


def train(outputs, data, network="cnn", architecture=None, epochs=1):
    """Let the stage of a network train it, and lead ``outputs/latest`` to its result."""
    stage = Stage(
        name=f"Train{network.upper()}",
        folder=outputs,
        function="pipeline.training.train:train",
        parameters={
            "network": network,
            "architecture": architecture or find_network(network).architecture,
            "engine": "numba",
            "device": "cpu",
            "seed": 1,
            "epochs": epochs,
            "learning_rate": 0.1,
            "momentum": 0.9,
            "batch_size": 16,
            "validation_fraction": 0.2,
        },
        options={"images": data, "threads": 1},
        imports=("pipeline.engines.numba.engine:ENGINE",),
    )
    results.make(stage, SILENT)
    point_latest(stage, outputs / "latest", run="0" * 12)
    return stage.path


def record_of_training(measured, architecture):
    """Return the record of a training that no stage made."""
    return Record(
        stage="Train",
        key="0" * 16,
        content_key="0" * 16,
        parameters={"device": "cpu", "engine": "torch", "architecture": architecture},
        code={},
        inputs={},
        files={},
        content="",
        started="2015-01-01T00:00:00+00:00",
        seconds=1.0,
        run="1",
        host="here",
        versions={"python": "3.11.7", "numpy": "2.3.5"},
        measured=measured,
    ).sealed()


def command(folder, *arguments):
    """Type ``python -m pipeline`` in a folder; return its exit status, and what it prints to its two streams."""
    typed, environment = ["-m", "pipeline", *arguments], os.environ | {"PYTHONPATH": str(ROOT)}
    done = libraries().run(typed, folder=folder, environment=environment, timeout=120)
    return _without_traceback(done)


def command_with_output_to(stdout, folder, *arguments):
    """Do the same in a new process, where the output must not be the file that `command` reads."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    return _without_traceback(done)


def _without_traceback(done):
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr
