"""Networks small enough for `pipeline.engines.reference`, and examples to train them with."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from pipeline.data.dataset import GRAYSCALE_NAME, IMAGES_NAME, DatasetWriter, open_dataset
from pipeline.engines.engine import Examples
from pipeline.networks.declaration import Network
from pipeline.networks.layers import (
    Conv2DLayer,
    DenseLayer,
    InputLayer,
    MaxPool2DLayer,
    linear,
    rectify,
    sigmoid,
    softmax,
    tanh,
)


def network(input_shape, *layers, classes=3):
    """Build a network from pairs of a layer class and its options, with a softmax over the classes at its end."""
    layers = [(InputLayer, {"shape": (None, *input_shape)}), *layers]
    layers.append((DenseLayer, {"num_units": classes, "nonlinearity": softmax}))
    declaration = {"layers": [(f"layer{index}", kind) for index, (kind, _) in enumerate(layers)]}
    for index, (_, options) in enumerate(layers):
        declaration |= {f"layer{index}_{option}": value for option, value in options.items()}
    return Network.build(declaration)


def dense(num_units, nonlinearity=rectify):
    return DenseLayer, {"num_units": num_units, "nonlinearity": nonlinearity}


def convolution(num_filters, filter_size, **options):
    return Conv2DLayer, {"num_filters": num_filters, "filter_size": filter_size, **options}


def pool(pool_size, stride=None):
    return MaxPool2DLayer, {"pool_size": pool_size, "stride": stride}


NETWORKS = {
    "softmax only": network((7,)),
    "one hidden layer": network((13,), dense(9)),
    "tanh, sigmoid and linear units": network((10,), dense(8, tanh), dense(7, sigmoid), dense(6, linear)),
    "two classes": network((5,), dense(4), classes=2),
    "images straight into units": network((3, 5, 4), dense(6)),
    "like the article's": network((1, 14, 14), convolution(3, (3, 3)), pool((2, 2)), convolution(4, (2, 2)), dense(7)),
    "odd sizes": network((1, 11, 7), convolution(3, (3, 2)), pool((2, 2)), dense(5)),
    "three channels": network((3, 9, 8), convolution(4, (2, 3)), pool((3, 2)), convolution(2, (2, 1)), dense(5)),
    "stride": network((2, 11, 10), convolution(3, (3, 2), stride=(2, 3)), pool((2, 2))),
    "padding": network((2, 5, 6), convolution(3, (3, 4), pad=(1, 2)), pool((2, 3))),
    "stride and padding": network((1, 9, 7), convolution(2, (4, 3), stride=(3, 2), pad=(2, 1)), dense(4)),
    "tanh before pooling": network((1, 8, 8), convolution(2, (3, 3), nonlinearity=tanh), pool((2, 2))),
    "sigmoid before pooling": network((1, 8, 8), convolution(2, (3, 3), nonlinearity=sigmoid), pool((2, 2))),
    "linear before pooling": network((1, 8, 8), convolution(2, (3, 3), nonlinearity=linear), pool((2, 2))),
    "pooling windows that overlap": network((1, 9, 9), convolution(2, (2, 2)), pool((3, 3), stride=(2, 1))),
    "pooling windows with gaps": network((1, 11, 11), convolution(2, (2, 2)), pool((2, 2), stride=(3, 4))),
    "pooling first": network((2, 8, 8), pool((2, 2)), convolution(3, (2, 2)), dense(4)),
    "pooling twice": network((1, 13, 13), convolution(3, (2, 2)), pool((2, 2)), pool((3, 3)), dense(4)),
    "convolutions without pooling": network((1, 7, 7), convolution(3, (3, 3)), convolution(2, (3, 3)), dense(4)),
    "convolution down to one value": network((2, 4, 3), convolution(5, (4, 3)), dense(4)),
}
"""A network for each feature of a declaration."""


def random_weights(network, seed):
    """Draw weights, biases among them, from a normal distribution."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(0, 0.4, shape).astype(np.float32) for name, shape in network.weight_shapes.items()}


def results(networks, draw=random_weights):
    """Return what the report reads of networks, by name, with weights that ``draw`` draws instead of trained ones."""
    return [
        SimpleNamespace(name=name, title=name.upper(), network=built, weights=draw(built, seed=number))
        for number, (name, built) in enumerate(networks.items())
    ]


def random_examples(network, count, seed):
    """Draw images in which no two values are the same."""
    generator = np.random.default_rng(seed)
    images = generator.normal(0, 1, (count, *network.input_shape)).astype(np.float32)
    return Examples(images, generator.integers(0, network.classes, count, np.uint8))


def whole_weights(network, seed):
    """Draw each weight from -1, 0 and 1: with `whole_examples` float32 is exact up to the softmax."""
    generator = np.random.default_rng(seed)
    return {name: generator.integers(-1, 2, shape).astype(np.float32) for name, shape in network.weight_shapes.items()}


def whole_examples(network, count, seed):
    """Draw each value from -1, 0 and 1, so that many sums are exactly 0 and many maxima are tied."""
    generator = np.random.default_rng(seed)
    images = generator.integers(-1, 2, (count, *network.input_shape)).astype(np.float32)
    return Examples(images, generator.integers(0, network.classes, count, np.uint8))


def write_colors(folder, height, width):
    """Write a file of random images in color beside the file of `write_examples`, with its labels and description."""
    generator = np.random.default_rng(0)
    with open_dataset(folder / GRAYSCALE_NAME) as gray, DatasetWriter(folder / IMAGES_NAME) as writer:
        for split, count in gray.description.counts.items():
            images = generator.integers(0, 256, (count, 3, height, width), np.uint8)
            writer.put(split, 0, images, gray.labels(split), total=count)
        writer.describe(gray.description.title, gray.description.class_names, gray.description.archive_sha256)


def write_examples(folder, network, *, train=60, test=30, title="small things", seed=0):
    """Write a data file of random images for a network, about a third of each class."""
    with DatasetWriter(folder / GRAYSCALE_NAME) as writer:
        for split, count in (("train", train), ("test", test)):
            examples = random_examples(network, count, seed=[seed, count])
            writer.put(split, 0, examples.images, examples.labels, total=count)
        writer.describe(title, ["cat", "dog", "frog"][: network.classes], "ab" * 32)
