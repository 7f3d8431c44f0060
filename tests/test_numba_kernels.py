"""Each kernel of the numba engine, alone, against the functions that its docstring names."""

from __future__ import annotations

import ast
import functools
import math
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines import numba, reference
from pipeline.engines.engine import Training
from pipeline.engines.fused import weighted_layers
from pipeline.engines.numba import (
    activations,
    convolution,
    convolution_backward,
    dense,
    first_convolution,
    updates,
    worksharing,
)
from pipeline.engines.numba.compiler import compile_for, entry_point
from pipeline.engines.numba.engine import ENGINE
from pipeline.engines.numba.parameters import get_parameters, put_parameters, put_weights
from pipeline.engines.numba.plan import AT_ZERO, IMAGES_PER_CHUNK, Layout
from pipeline.engines.numba.views import outputs_of
from pipeline.networks import forward
from pipeline.networks.declaration import Hyperparameters
from pipeline.networks.layers import MaxPool2DLayer, linear, rectify, softmax
from pipeline.networks.weights import draw_weights
from tests.fused_networks import NETWORKS
from tests.small_networks import random_examples

IMAGES = 11
"""The last chunk is not full."""

THREADS = 2
"""Their memory holds all images at once, so an image's number in it is that in the minibatch."""

LEARNING_RATE, MOMENTUM = 0.1, 0.9
POOL = MaxPool2DLayer((2, 2))


# Only compiled code can call a kernel. These call one for chunk after chunk, as training does.
@entry_point
def run_rectify(layer, memory, _, labels):
    for first in range(0, len(labels), IMAGES_PER_CHUNK):
        stop = min(first + IMAGES_PER_CHUNK, len(labels))
        outputs, masks = (
            outputs_of(layer, memory.activations, first, stop),
            outputs_of(layer, memory.masks, first, stop),
        )
        activations.rectify(layer, outputs, masks)


@entry_point
def run_rectify_backward(layer, memory, _, labels):
    for first in range(0, len(labels), IMAGES_PER_CHUNK):
        activations.rectify_backward(layer, memory, first, min(first + IMAGES_PER_CHUNK, len(labels)))


@entry_point
def run_cross_entropy(layer, memory, _, labels):
    for first in range(0, len(labels), IMAGES_PER_CHUNK):
        activations.cross_entropy(layer, memory, labels[first : first + IMAGES_PER_CHUNK], first, len(labels))


@entry_point
def run_dense_forward(layer, memory, _, labels):
    for first in range(0, len(labels), IMAGES_PER_CHUNK):
        dense.dense_forward(layer, memory, first, min(first + IMAGES_PER_CHUNK, len(labels)))


@entry_point
def run_dense_backward(layer, memory, _, labels):
    for first in range(0, len(labels), IMAGES_PER_CHUNK):
        dense.dense_backward(layer, memory, first, min(first + IMAGES_PER_CHUNK, len(labels)))


@entry_point
def run_convolution_forward(layer, memory, _, labels):
    for image in range(len(labels)):
        convolution.convolution_forward(layer, memory, image, image)


@entry_point
def run_convolution_backward(layer, memory, scratch, labels):
    gradients = memory.chunk_gradients[0, layer.gradient :]
    for image in range(len(labels)):
        convolution_backward.convolution_backward(layer, memory, image, image, gradients, scratch.maxima)


@entry_point
def run_first_convolution_backward(layer, memory, _, labels):
    gradients = memory.chunk_gradients[0, layer.gradient :]
    for image in range(len(labels)):
        first_convolution.first_convolution_backward(layer, memory, image, image, gradients)


@entry_point
def run_update_share(plan, memory, scratch, labels):
    rates = updates.Rates(np.float32(LEARNING_RATE), np.float32(MOMENTUM))
    chunks = len(memory.chunk_gradients)
    for share in range(updates.SHARES):
        updates.update_share(plan, memory, scratch.gradient, len(labels), chunks, share, rates)


class State:
    """A network in the kernels' memory, with random weights.

    Numbers are ``whole``, -1, 0 and 1, so that many sums are tied and many exactly 0, or no two are the same.
    """

    def __init__(self, network, *, whole):
        self.network, self.whole = network, whole
        self.layout = Layout.of(network, IMAGES, THREADS)
        self.memory, self.scratch = self.layout.memory(), worksharing.scratch(self.layout.plan)
        self.generator = np.random.default_rng(whole)
        self.labels = self.generator.integers(0, network.classes, IMAGES, np.uint8)
        self.weights = self.draw_for_weights()
        put_weights(self.layout, self.weights, self.memory)

    def draw(self, shape):
        numbers = self.generator.integers(-1, 2, shape) if self.whole else self.generator.normal(size=shape)
        return numbers.astype(np.float32)

    def draw_for_weights(self):
        return {name: self.draw(shape) for name, shape in self.network.weight_shapes.items()}

    def run(self, entry, layer):
        """Call an entry point with a row of the plan, or with all of it."""
        arguments = layer, self.memory, self.scratch, self.labels
        compile_for(entry, *arguments)
        entry(*arguments)

    def gradients_of_convolutions(self, chunk_gradients):
        """Return a row of `Memory.chunk_gradients` by the weights' names; zeros for dense layers."""
        flat = np.zeros(self.memory.weights.shape)
        for row in self.layout.plan[self.layout.plan["is_dense"] == 0]:
            biases, weights = row["padded_units"], row["fan_in"] * row["padded_units"]
            flat[row["biases"] :][:biases] = chunk_gradients[row["gradient"] :][:biases]
            flat[row["weights"] :][:weights] = chunk_gradients[row["gradient"] + biases :][:weights]
        return get_parameters(self.layout, flat)


class Layer:
    """A layer of a `State`: random inputs and output gradients in the kernels' memory, and what NumPy makes of them."""

    def __init__(self, state, number):
        self.state, self.row = state, state.layout.plan[number]
        self.entry, self.is_pooled = weighted_layers(state.network, "numba")[number]
        nonlinearity = self.entry.layer.nonlinearity
        self.nonlinearity = linear if nonlinearity == softmax else nonlinearity  # `cross_entropy` has the softmax
        self.weight = state.weights[f"{self.entry.name}/W"]
        self.values = state.draw((IMAGES, *self.entry.input_shape)).astype(np.float64)
        self.gradient = state.draw(self.outputs.shape).astype(np.float64)
        self.view_inputs(state.memory.activations)[...] = self.values
        self.view_outputs(state.memory.output_gradients)[...] = self.gradient

    @functools.cached_property
    def sums(self):
        return forward.preactivation(self.entry, self.state.weights, self.values)

    @functools.cached_property
    def maxima(self):
        """What the kernels rectify."""
        return forward.max_pooled(self.sums, POOL) if self.is_pooled else self.sums

    @functools.cached_property
    def outputs(self):
        activated = forward.activated(self.nonlinearity, self.sums)
        return forward.max_pooled(activated, POOL) if self.is_pooled else activated

    @functools.cached_property
    def masks(self):
        """The masks as `Memory.masks` describes them."""
        masks = np.ones(self.maxima.shape, np.uint8)
        if self.is_pooled:
            places = reference.places(POOL.pool_size, POOL.pool_size, self.maxima)
            masks = sum(
                (self.sums[place] == self.maxima) * np.uint8(1 << 2 * row + column) for (row, column), place in places
            )
        if self.nonlinearity == rectify:
            masks = np.where(self.maxima < 0, 0, masks | np.where(self.maxima == 0, AT_ZERO, 0))
        return masks

    @functools.cached_property
    def gradient_of_sums(self):
        gradient = self.gradient
        if self.is_pooled:
            gradient = reference.max_pool_gradient(forward.activated(self.nonlinearity, self.sums), POOL, gradient)
        return gradient * reference.slope(self.nonlinearity, self.sums)

    def view_inputs(self, array):
        """View the numbers of the layer's inputs in one of the kernels' arrays, with the declared axes."""
        row, shape = self.row, self.entry.input_shape
        size = int(row["input_size"])
        if row["is_dense"] and row["is_first"]:
            return view(array[row["input"] :], size, (math.prod(shape),), math.prod(shape)).reshape(IMAGES, *shape)
        channels = size // math.prod(shape[1:]) if row["is_dense"] else int(row["channels"])
        return view(array[row["input"] :], size, shape, channels)

    def view_outputs(self, array):
        """View those of its outputs."""
        row = self.row
        return view(array[row["output"] :], int(row["output_size"]), self.outputs.shape[1:], int(row["padded_units"]))

    def run(self, entry):
        self.state.run(entry, self.row)

    def assert_outputs(self):
        memory = self.state.memory
        assert_close(self.view_outputs(memory.activations), self.outputs)
        if self.state.whole:  # else rounding decides which sums are below 0
            np.testing.assert_array_equal(self.view_outputs(memory.masks), self.masks)


def view(flat, size, shape, channels):
    """View the numbers of all images, ``size`` for each; they lie channels last, and there may be more channels."""
    rows = flat[: IMAGES * size].reshape(IMAGES, size)[:, : math.prod(shape[1:]) * channels]
    return np.moveaxis(rows.reshape(IMAGES, *shape[1:], channels), -1, 1)[:, : shape[0]]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * max(1, np.abs(expected).max()))


def check_forward(layer, run):
    layer.run(run)
    layer.assert_outputs()


def check_rectify(layer, run):
    layer.view_outputs(layer.state.memory.activations)[...] = layer.maxima
    check_forward(layer, run)


def check_cross_entropy(layer, run):
    memory, labels = layer.state.memory, layer.state.labels
    layer.view_outputs(memory.activations)[...] = layer.sums
    layer.run(run)
    probabilities = forward.activated(softmax, layer.sums)
    assert memory.losses[:IMAGES].mean() == pytest.approx(reference.cross_entropy(layer.sums, labels))
    assert_close(layer.view_outputs(memory.output_gradients), reference.logit_gradients(probabilities, labels))


def check_rectify_backward(layer, run):
    memory = layer.state.memory
    layer.view_outputs(memory.masks)[...] = layer.masks
    layer.run(run)
    assert_close(layer.view_outputs(memory.output_gradients), layer.gradient_of_sums)


def check_dense_backward(layer, run):
    check_rectify_backward(layer, run)
    if not layer.row["is_first"]:
        _, _, of_values = reference.dense_gradients(layer.values, layer.weight, layer.gradient_of_sums)
        assert_close(layer.view_inputs(layer.state.memory.output_gradients), of_values)


def check_convolution_backward(layer, run):
    memory = layer.state.memory
    layer.view_outputs(memory.masks)[...] = layer.masks
    layer.run(run)
    of_weight, of_bias, of_values = reference.convolution_gradients(
        layer.values, layer.entry.layer, layer.weight, layer.gradient_of_sums
    )
    found = layer.state.gradients_of_convolutions(memory.chunk_gradients[0])
    assert_close(found[f"{layer.entry.name}/W"], of_weight)
    assert_close(found[f"{layer.entry.name}/b"], of_bias)
    if not layer.row["is_first"]:
        assert_close(layer.view_inputs(memory.output_gradients), of_values)


def check_update_share(first_layer, run):
    """Of the whole network, in one step: sums of the chunks' gradients, and for dense layers products."""
    state = first_layer.state
    memory, plan = state.memory, state.layout.plan
    memory.chunk_gradients[...] = state.draw(memory.chunk_gradients.shape)
    gradients = state.gradients_of_convolutions(memory.chunk_gradients.sum(0, dtype=np.float64))
    for layer in (Layer(state, number) for number in range(len(plan)) if plan[number]["is_dense"]):
        names = f"{layer.entry.name}/W", f"{layer.entry.name}/b"
        gradients |= dict(
            zip(names, reference.dense_gradients(layer.values, layer.weight, layer.gradient), strict=False)
        )
    velocities = state.draw_for_weights()
    put_parameters(state.layout, velocities, memory.velocities)
    state.run(run, plan)
    how = Hyperparameters(learning_rate=LEARNING_RATE, momentum=MOMENTUM, epochs=1)
    moved = get_parameters(state.layout, memory.weights)
    velocities_then = get_parameters(state.layout, memory.velocities)
    for name, gradient in gradients.items():
        weight, velocity = reference.take_step(state.weights[name], velocities[name], gradient, how)
        assert_close(moved[name], weight)
        assert_close(velocities_then[name], velocity)
    for row in plan:
        if not row["is_first"]:
            shape = row["fan_in"], row["padded_units"]
            if not row["is_dense"]:
                shape = shape[::-1]
            weights = memory.weights[row["weights"] :][: math.prod(shape)].reshape(shape)
            transposed = memory.transposed[row["weights"] :][: math.prod(shape)].reshape(shape[::-1])
            np.testing.assert_array_equal(transposed, weights.T)


KERNELS = {
    "activations.rectify": (run_rectify, check_rectify, "without pooling"),
    "activations.rectify_backward": (run_rectify_backward, check_rectify_backward, "without pooling"),
    "activations.cross_entropy": (run_cross_entropy, check_cross_entropy, "last"),
    "dense.dense_forward": (run_dense_forward, check_forward, "dense"),
    "dense.dense_backward": (run_dense_backward, check_dense_backward, "dense"),
    "convolution.convolution_forward": (run_convolution_forward, check_forward, "convolution"),
    "convolution_backward.convolution_backward": (
        run_convolution_backward,
        check_convolution_backward,
        "later convolution",
    ),
    "first_convolution.first_convolution_backward": (
        run_first_convolution_backward,
        check_convolution_backward,
        "first convolution",
    ),
    "updates.update_share": (run_update_share, check_update_share, "first"),
}
"""For each kernel: what calls it, what checks it, and the kind of layers that it computes."""

PARTS = {"activations.halve_at_zero"}
"""The public kernels that are a part of one of these, and have no function in NumPy."""


def layers_of(kind):
    """Yield the name of a network and the number of a layer for all layers of a kind."""
    for name, network in NETWORKS.items():
        plan = Layout.of(network, IMAGES, THREADS).plan
        of_kind = {
            "dense": plan["is_dense"],
            "convolution": 1 - plan["is_dense"],
            "first convolution": (1 - plan["is_dense"]) * plan["is_first"],
            "later convolution": (1 - plan["is_dense"]) * (1 - plan["is_first"]),
            "without pooling": 1 - plan["is_pooled"],
            "first": plan["is_first"],
            "last": np.arange(len(plan)) == len(plan) - 1,
        }
        yield from ((name, int(number)) for number in np.flatnonzero(of_kind[kind]))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("kernel", "name", "number"),
    [(kernel, *layer) for kernel, (*_, kind) in KERNELS.items() for layer in layers_of(kind)],
)
def test_equals_the_functions_that_it_names(kernel, name, number, whole):
    run, check, _ = KERNELS[kernel]
    check(Layer(State(NETWORKS[name], whole=whole), number), run)


@pytest.mark.parametrize("kernel", KERNELS)
def test_each_kernel_is_called(kernel):
    run, *_ = KERNELS[kernel]
    assert {*kernel.split(".")} <= {*run.py_func.__code__.co_names}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_training_leaves_the_padding_as_it_is_and_the_copies_true(network, monkeypatch):
    """The update moves whole rows of weights, with their padded units."""
    make_memory, memories = Layout.memory, []
    monkeypatch.setattr(Layout, "memory", lambda layout: memories.append(make_memory(layout)) or memories[-1])
    how = Hyperparameters(learning_rate=LEARNING_RATE, momentum=MOMENTUM, epochs=1, batch_size=IMAGES)
    examples = random_examples(network, 3 * IMAGES, 1)
    trainer = ENGINE(threads=THREADS).trainer(Training(network, how, draw_weights(network, 1), examples, examples))
    trainer.train_epoch(lambda _done: None)
    [found] = memories

    layout = Layout.of(network, IMAGES, THREADS)
    expected = make_memory(layout)
    put_weights(layout, trainer.weights(), expected)
    put_parameters(layout, trainer.velocity(), expected.velocities)
    for array in ("weights", "transposed", "velocities"):
        np.testing.assert_array_equal(getattr(found, array), getattr(expected, array), err_msg=array)


def public_kernels(module, source):
    """Yield names and docstrings."""
    for node in ast.parse(source).body:
        decorators = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])]
        if decorators == ["kernel"] and not node.name.startswith("_"):
            yield f"{module}.{node.name}", ast.get_docstring(node) or ""


def faults(module, source):
    """Yield what is wrong with the docstrings of a module's kernels, and which have no test."""
    for kernel, docstring in public_kernels(module, source):
        named = re.findall(r"`(forward|reference)\.(\w+)`", docstring)
        for specification, function in named:
            if not hasattr({"forward": forward, "reference": reference}[specification], function):
                yield f"{kernel} names {specification}.{function}, which does not exist"
        if not named and kernel not in PARTS:
            yield f"{kernel} names no function that it equals"
        if named and kernel not in KERNELS:
            yield f"{kernel} has no test"


def test_every_kernel_names_what_it_equals_and_has_a_test():
    sources = {path.stem: path.read_text() for path in Path(numba.__file__).parent.glob("*.py")}
    assert [fault for module, source in sources.items() for fault in faults(module, source)] == []
    kernels = {kernel for module, source in sources.items() for kernel, _ in public_kernels(module, source)}
    assert kernels == KERNELS.keys() | PARTS


@pytest.mark.parametrize(
    ("function", "docstring", "fault"),
    [
        ("dense_forward", "Compute.", "dense.dense_forward names no function that it equals"),
        ("dense_forward", "Equals `forward.gone`.", "dense.dense_forward names forward.gone, which does not exist"),
        ("dense_sideways", "Equals `reference.slope`.", "dense.dense_sideways has no test"),
    ],
)
def test_a_fault_is_found(function, docstring, fault):
    assert list(faults("dense", f'@kernel\ndef {function}(layer):\n    """{docstring}"""\n')) == [fault]
