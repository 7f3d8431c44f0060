"""What several test modules need."""

from __future__ import annotations

import contextlib
import functools
import lzma
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.engines.engine import Examples
from pipeline.networks.declaration import Network
from pipeline.networks.declared import find_network
from tests import browser
from tests.available import has_gpu
from tests.clone import fresh_clone
from tests.object_faults import FaultyProxy
from tests.object_store import ObjectStore
from tests.states import States

if not has_gpu():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it when it is imported

GOLDEN = Path(__file__).parent / "golden"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests in a clone, whose environment is installed from a registry; then keep groups together."""
    for item in items:
        if "clone" in item.fixturenames:
            item.add_marker(pytest.mark.registry)
    yield
    _check_groups(items)


def _check_groups(items):
    """See to it that pytest-xdist keeps groups together: each worker would set up anew what a group shares."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        alone = [item.nodeid for item in items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if alone:
            raise pytest.UsageError(f"this pytest-xdist puts no test into its group with this pytest: {alone[0]}")


@functools.cache
def golden_images():
    planes = np.frombuffer(lzma.decompress((GOLDEN / "images.xz").read_bytes()), np.uint8).reshape(3, -1)
    values = planes.astype(np.int64).T @ [1, 256, 65536]
    return (values / 255_000 - 0.5).astype(np.float32).reshape(-1, 1024)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser that one test after the other looks at a page with."""
    running = browser.start(tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture(params=["mlp", "cnn"])
def golden(request):
    """What Theano, Lasagne and nolearn computed for one of the article's networks; see golden/README.md."""
    arrays = dict(np.load(GOLDEN / f"{request.param}.npz"))
    architecture, hyperparameters = find_network({"mlp": "mlp", "cnn": "cnn_printed"}[request.param])
    network = Network.build(architecture, classes=10)
    images = golden_images().reshape(-1, *network.input_shape)
    return SimpleNamespace(
        name=request.param,
        network=network,
        hyperparameters=hyperparameters,
        seed=int(arrays["seed"]),
        examples=Examples(images, arrays["y"].astype(np.uint8)),
        first_probabilities=arrays["probs0"],
        losses=arrays["loss_before"],
        after_one_step={name: arrays[f"step1/{name.replace('/', '.')}"] for name in network.weight_shapes},
        after_all_steps={name: arrays[f"step20/{name.replace('/', '.')}"] for name in network.weight_shapes},
        loss_tolerance={"mlp": 1e-6, "cnn": 3e-4}[request.param],
    )


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """A clone that sets up an environment of its own; tests that share it are of one xdist group, ``makefile``."""
    folder = tmp_path_factory.mktemp("clone") / "checkout"
    yield fresh_clone(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def states(tmp_path_factory):
    """The states of a checkout; pytest-xdist gives each worker a folder of its own inside a common one."""
    folder = tmp_path_factory.getbasetemp()
    return States(folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder)


@pytest.fixture(scope="session")
def trained(states):
    """A checkout in which the whole pipeline has run once, for tests that change nothing in it."""
    return states.shared("trained")


@pytest.fixture
def checkout(request, states, tmp_path):
    """A checkout to change, in the state that ``@pytest.mark.state(NAME)`` names, or "trained"."""
    marker = request.node.get_closest_marker("state")
    copy = states.copy(marker.args[0] if marker else "trained", tmp_path / "checkout")
    yield copy
    shutil.rmtree(copy.folder)


@pytest.fixture
def machines(checkout, tmp_path):
    """Two checkouts, whose command lines must name the same luigid and the same remote to share their work."""
    return checkout, checkout.copy(tmp_path / "another")


@pytest.fixture(scope="session")
def object_store():
    """An S3 server on loopback, which each process that runs tests starts when one of them needs it."""
    with contextlib.closing(ObjectStore()) as server:
        yield server


@pytest.fixture
def place(object_store):
    """An empty place in that server."""
    return object_store.place()


@pytest.fixture
def proxy(object_store):
    """A way to that server on which a test breaks what it likes: ``place.at(proxy.endpoint)``."""
    with FaultyProxy(object_store.endpoint) as on_the_way:
        yield on_the_way
