"""The page that computes one step by hand: each of its numbers, and its program."""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
import pytest

from pipeline.engines.reference import layer_outputs, loss_and_gradients, slope, take_step
from pipeline.networks.declaration import Network
from pipeline.networks.layers import linear, rectify
from tests import small_networks
from tests.pages import Page

PAGE = Page("docs/explanation/one-convolution.md")
*BLOCKS, PRINTED = PAGE.blocks("text")
NUMBERS = "\n".join(BLOCKS)


@pytest.fixture(scope="module")
def program():
    """The names that the page's program defines, and what it prints."""
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(PAGE.blocks("python")[0], names)
    return {**names, "printed": printed.getvalue()}


@pytest.fixture(scope="module")
def expected(program):
    """The rows of each table by its name, computed from what the page's program declares."""
    weights = {name: values.astype(float) for name, values in program["weights"].items()}
    network, examples = program["network"], program["examples"]
    tables = forward(network, weights, examples.images)
    tables |= backward(network, weights, examples, tables)
    tables |= step(network, weights, examples, program["hyperparameters"])
    return {name: written(values) for name, values in tables.items()}


def test_every_number(expected):
    assert wrong_tables(NUMBERS, expected) == []


def test_a_wrong_digit_is_found_wherever_it_is(expected):
    for digit in re.finditer(r"\d", NUMBERS):
        changed = str((int(digit[0]) + 1) % 10)
        assert wrong_tables(NUMBERS[: digit.start()] + changed + NUMBERS[digit.end() :], expected)


def test_the_program_prints_the_new_filter(program, expected):
    assert program["printed"] == PRINTED
    assert rows(re.sub(r"[\[\]]", "", PRINTED)) == expected["new filter"]


def forward(network, weights, images):
    """Return the tables of the forward pass."""
    _, rectified, maxima, probabilities = layer_outputs(network, weights, images)
    summing = Network.build({**network.to_json(), "conv_nonlinearity": linear})
    sums = layer_outputs(summing, weights, images)[1][0, 0]
    flipped = weights["conv/W"][0, 0, ::-1, ::-1]
    logits = maxima.ravel() @ weights["output/W"] + weights["output/b"]
    tables = {
        "image": images[0, 0],
        "filter": weights["conv/W"][0, 0],
        "flipped filter": flipped,
        "bias": weights["conv/b"],
        "sums": sums,
        "rectified": rectified[0, 0],
        "maxima": maxima[0, 0],
        "input": maxima.ravel(),
        "weights": weights["output/W"],
        "output bias": weights["output/b"],
        "class": np.arange(network.classes),
        "logit": logits,
        "e^logit": np.exp(logits),
        "probability": probabilities[0],
    }
    for row, column in np.ndindex(sums.shape):
        patch = images[0, 0, row : row + 2, column : column + 2]
        tables[f"patch at ({row}, {column})"] = patch
        tables[f"products at ({row}, {column})"] = patch * flipped
        tables[f"sum at ({row}, {column})"] = sums[row, column]
    return tables


def backward(network, weights, examples, tables):
    """Return the tables of the loss and of the backward pass; ``tables`` are those of the forward pass."""
    label = examples.labels[0]
    loss, gradients = loss_and_gradients(network, weights, examples.images, examples.labels)
    convolution, pool = small_networks.convolution(1, (2, 2)), small_networks.pool((2, 2))
    of_maxima = gradient_of(tables["maxima"], [], weights, examples.labels)
    of_sums = gradient_of(tables["sums"], [pool], weights, examples.labels, rectify)
    return {
        "label": label,
        "probability of the label": tables["probability"][label],
        "loss": loss,
        "target": tables["class"] == label,
        "gradient of the logit": gradients["output/b"],
        "gradient of the weights": gradients["output/W"],
        "gradient of the input": of_maxima.ravel(),
        "gradient of the maxima": of_maxima,
        "gradient of the rectified": gradient_of(tables["rectified"], [pool], weights, examples.labels),
        "slopes": slope(rectify, tables["sums"]),
        "gradient of the sums": of_sums,
        **{f"gradient at ({row}, {column})": value for (row, column), value in np.ndenumerate(of_sums)},
        "gradient of the flipped filter": gradients["conv/W"][0, 0, ::-1, ::-1],
        "gradient of the filter": gradients["conv/W"][0, 0],
        "gradient of the bias": gradients["conv/b"],
        "gradient of the image": gradient_of(tables["image"], [convolution, pool], weights, examples.labels),
    }


def gradient_of(values, layers, weights, labels, nonlinearity=linear):
    """Return the loss's gradient for values that go through a nonlinearity, layers and the dense layer.

    A convolution of a single 1, padded with zeros, gives its filter. So a first layer has the values as its filter.
    """
    pad = values.shape[0] - 1, values.shape[1] - 1
    first = small_networks.convolution(1, values.shape, pad=pad, nonlinearity=nonlinearity)
    network = small_networks.network((1, 1, 1), first, *layers, classes=len(weights["output/b"]))
    of_first, *others = network.weight_shapes
    of_values = [values[None, None], np.zeros(1), *list(weights.values())[1 - len(others) :]]
    named = dict(zip(network.weight_shapes, of_values, strict=True))
    _, gradients = loss_and_gradients(network, named, np.ones((1, *network.input_shape)), labels)
    return gradients[of_first][0, 0]


def step(network, weights, examples, how):
    """Return the tables of the first step of Nesterov's momentum, and of the loss behind it."""
    _, gradients = loss_and_gradients(network, weights, examples.images, examples.labels)
    tables, after = {"learning rate": how.learning_rate, "momentum": how.momentum}, {}
    shown = {"conv/W": "filter", "conv/b": "bias", "output/W": "weights", "output/b": "output bias"}
    for name, table in shown.items():
        after[name], velocity = take_step(weights[name], 0, gradients[name], how)
        in_plane = weights[name].shape[-2:]
        tables[f"velocity of the {table}"] = velocity.reshape(in_plane)
        tables[f"new {table}"] = after[name].reshape(in_plane)
    tables["new loss"], _ = loss_and_gradients(network, after, examples.images, examples.labels)
    return tables


def wrong_tables(text, expected):
    """Return the names of the tables that are not as expected."""
    return [name for name, shown in tables_in(text) if shown != expected.get(name)]


def tables_in(text):
    """Yield name and rows of each table; tables stand side by side, below their names."""
    for part in text.strip("\n").split("\n\n"):
        names, *lines = part.splitlines()
        starts = [name.start() for name in re.finditer(r"\S+(?: \S+)*", names)]
        for start, stop in zip(starts, [*starts[1:], None], strict=True):
            yield names[start:stop].strip(), rows("\n".join(line[start:stop] for line in lines))


def rows(text):
    return [line.split() for line in text.splitlines() if line.strip()]


def written(values):
    """Return the rows of a table of values, each as it is if that is short, else with three decimals."""
    table = np.atleast_1d(values) + 0.0  # which makes 0 of -0
    return [[min(f"{value:g}", f"{value:.3f}", key=len) for value in row] for row in table.reshape(len(table), -1)]
