"""The forward pass in NumPy. That its values are right is tested where engines are compared with `reference`."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from pipeline.networks.forward import activated, layer_outputs
from pipeline.networks.layers import Nonlinearity
from tests import small_networks
from tests.small_networks import convolution, pool


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", small_networks.NETWORKS)
def test_every_layer_has_its_declared_shape_and_the_type_of_the_images(name, dtype):
    network = small_networks.NETWORKS[name]
    images = small_networks.random_examples(network, 2, seed=1).images.astype(dtype)
    weights = small_networks.random_weights(network, seed=2)

    outputs = layer_outputs(network, weights, images)

    assert outputs[0] is images
    assert [values.shape for values in outputs] == [(2, *layer.output_shape) for layer in network.layers]
    assert {values.dtype for values in outputs} == {np.dtype(dtype)}


def test_filters_are_flipped_before_they_slide():
    network = small_networks.network((2, 6, 5), convolution(3, (3, 2), nonlinearity="linear"), pool((2, 3)))
    images = small_networks.random_examples(network, 1, seed=1).images.astype(np.float64)
    weights = small_networks.random_weights(network, seed=2)

    _, convolved, pooled, _ = layer_outputs(network, weights, images)

    for found, filter_weights, bias in zip(convolved[0], weights["layer1/W"], weights["layer1/b"], strict=True):
        channels = [scipy.signal.convolve2d(*pair, "valid") for pair in zip(images[0], filter_weights, strict=True)]
        np.testing.assert_allclose(found, sum(channels) + bias)
    assert pooled[0, 1, 1, 0] == convolved[0, 1, 2:4, :3].max()


@pytest.mark.parametrize("nonlinearity", Nonlinearity)
def test_far_from_zero_nothing_overflows(nonlinearity):
    far = np.float32([[-2000, 0, 2000]])

    assert np.isfinite(activated(nonlinearity, far)).all()
