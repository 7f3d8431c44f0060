"""Networks of the kinds that the engines of fused kernels know: one for each feature, and sizes that fill no block."""

from __future__ import annotations

import random

import numpy as np

from pipeline.networks.layers import linear, rectify
from pipeline.networks.weights import draw_weights
from tests.small_networks import convolution, dense, pool
from tests.small_networks import network as network_of

POOL = pool((2, 2))

NETWORKS = {
    "softmax alone": network_of((7,)),
    "one hidden layer": network_of((33,), dense(17)),
    "wide and deep": network_of((50,), dense(130), dense(1), dense(64, linear), dense(3)),
    "many inputs": network_of((2500,), dense(40), dense(9)),
    "an image into dense": network_of((3, 5, 4), dense(9)),
    "one convolution": network_of((1, 9, 7), convolution(3, (3, 3)), POOL),
    "dropped borders": network_of((1, 10, 12), convolution(5, (4, 2)), POOL, dense(6)),
    "one channel, even filters": network_of((1, 12, 18), convolution(5, (2, 8)), POOL, dense(6)),
    "three channels": network_of((3, 11, 9), convolution(20, (2, 3)), POOL, convolution(33, (2, 2)), POOL, dense(8)),
    "more channels and filters than a block": network_of((2, 4, 4), convolution(33, (2, 2)), convolution(40, (2, 2))),
    "filters of one pixel": network_of((2, 6, 5), convolution(7, (1, 1)), POOL, convolution(4, (1, 1)), POOL),
    "filters of 5x5": network_of((3, 21, 18), convolution(4, (5, 5)), POOL, convolution(17, (5, 5)), POOL),
    "no pooling": network_of((3, 8, 9), convolution(6, (3, 3)), convolution(18, (2, 2)), dense(7)),
    "pooling now and then": network_of(
        (1, 15, 15), convolution(16, (2, 2)), convolution(3, (3, 3)), POOL, convolution(65, (2, 2))
    ),
    "linear convolutions": network_of(
        (2, 9, 9), convolution(4, (2, 2), nonlinearity=linear), POOL, convolution(4, (2, 2), nonlinearity=linear)
    ),
    "a filter as large as the image": network_of((2, 5, 4), convolution(9, (5, 4)), dense(6)),
    "narrow images": network_of((1, 12, 2), convolution(8, (1, 1)), POOL, convolution(5, (3, 1))),
    "as many classes as labels can name": network_of((1, 6, 6), convolution(7, (3, 3)), POOL, classes=256),
    "three convolutions": network_of(
        (1, 24, 23),
        convolution(16, (3, 3)),
        POOL,
        convolution(48, (2, 2)),
        POOL,
        convolution(96, (2, 2)),
        POOL,
        dense(40),
    ),
}


def random_network(seed):
    """Draw a network of a few layers whose sizes fill blocks, miss them by one, or are small."""
    draw = random.Random(seed)
    shape = _, rows, columns = draw.choice([1, 1, 1, 2, 3, 4, 8, 16, 33]), draw.randint(1, 8), draw.randint(1, 12)
    layers = []
    for _ in range(draw.randint(0, 3)):
        size = draw.randint(1, min(rows, 5)), draw.randint(1, min(columns, 6))
        filters = draw.choice([1, 2, 3, 4, 5, 8, 12, 16, 17, 31, 32, 33, 40, 64, 65])
        layers.append(convolution(filters, size, nonlinearity=draw.choice([rectify, rectify, linear])))
        rows, columns = rows - size[0] + 1, columns - size[1] + 1
        if min(rows, columns) > 1 and draw.random() < 0.6:
            layers.append(POOL)
            rows, columns = rows // 2, columns // 2
    units = draw.choices([1, 2, 3, 7, 8, 16, 31, 32, 33, 64, 100], k=draw.randint(0, 2))
    layers += [dense(number, draw.choice([rectify, linear])) for number in units]
    return network_of(shape, *layers, classes=draw.choice([1, 2, 3, 4, 8, 10, 16, 17, 40]))


def with_biases(network, seed):
    """Draw weights as training does, with biases other than zero, so that the tests see them."""
    generator = np.random.RandomState(seed)
    weights = draw_weights(network, seed)
    return {
        name: generator.uniform(-0.2, 0.2, values.shape).astype(np.float32) if name.endswith("/b") else values
        for name, values in weights.items()
    }
