from __future__ import annotations

import pytest

from pipeline.errors import DeclarationError
from pipeline.networks.layers import (
    Conv2DLayer,
    DenseLayer,
    InputLayer,
    MaxPool2DLayer,
    Nonlinearity,
    layer_class,
    linear,
    rectify,
    softmax,
)


class TestInputLayer:
    @pytest.mark.parametrize(("shape", "output_shape"), [((None, 1024), (1024,)), ((None, 3, 32, 30), (3, 32, 30))])
    def test_leaves_out_the_minibatch(self, shape, output_shape):
        layer = InputLayer(shape)

        layer.check()

        assert layer.output_shape(()) == output_shape
        assert layer.weight_shapes(()) == {}

    @pytest.mark.parametrize(
        "shape",
        [
            (),
            (None,),
            (None, 32, 32),
            (None, 1, 2, 3, 4),
            (128, 1024),
            (None, 0),
            (None, -1),
            (None, None),
            (None, 2.0),
            (None, True),
            (None, "1024"),
            "1024",
        ],
    )
    def test_refuses_other_shapes(self, shape):
        with pytest.raises(DeclarationError, match=r"^shape is .*; expected \(None, units\) or \(None, channels"):
            InputLayer(shape).check()


class TestDenseLayer:
    def test_takes_units(self):
        layer = DenseLayer(100)

        layer.check()

        assert layer.nonlinearity is rectify
        assert layer.output_shape((1024,)) == (100,)
        assert layer.weight_shapes((1024,)) == {"W": (1024, 100), "b": (100,)}

    def test_flattens_images(self):
        assert DenseLayer(10).weight_shapes((3, 5, 7)) == {"W": (105, 10), "b": (10,)}

    @pytest.mark.parametrize("num_units", [0, -3, 1.0, True, None, "100", (100,)])
    def test_refuses_what_is_no_count(self, num_units):
        with pytest.raises(DeclarationError, match=r"^num_units is .*; expected a whole number from 1\.$"):
            DenseLayer(num_units).check()

    @pytest.mark.parametrize("nonlinearity", list(Nonlinearity))
    def test_takes_every_nonlinearity(self, nonlinearity):
        DenseLayer(1, nonlinearity).check()

    def test_suggests_a_nonlinearity(self):
        with pytest.raises(
            DeclarationError,
            match=r"^nonlinearity is 'rectifier'; expected linear, .*, tanh\. Did you mean 'rectify'\?$",
        ):
            DenseLayer(1, "rectifier").check()

    @pytest.mark.parametrize("nonlinearity", [None, 1, max, [], "relu6"])
    def test_refuses_other_nonlinearities(self, nonlinearity):
        with pytest.raises(DeclarationError, match=r"^nonlinearity is .*; expected linear, rectify, sigmoid"):
            DenseLayer(1, nonlinearity).check()


class TestConv2DLayer:
    @pytest.mark.parametrize(
        ("layer", "output_shape"),
        [
            (Conv2DLayer(16, (3, 3)), (16, 30, 28)),
            (Conv2DLayer(2, (1, 4)), (2, 32, 27)),
            (Conv2DLayer(2, (32, 30)), (2, 1, 1)),
            (Conv2DLayer(2, (3, 3), stride=(2, 3)), (2, 15, 10)),
            (Conv2DLayer(2, (3, 3), pad=(1, 2)), (2, 32, 32)),
            (Conv2DLayer(2, (34, 3), stride=(5, 4), pad=(1, 0)), (2, 1, 7)),
            (Conv2DLayer(2, (5, 5), stride=(2, 2), pad=(2, 2)), (2, 16, 15)),
        ],
    )
    def test_output_shape(self, layer, output_shape):
        layer.check()

        assert layer.output_shape((3, 32, 30)) == output_shape

    def test_weights_are_filters_channels_height_width(self):
        assert Conv2DLayer(16, (3, 2)).weight_shapes((5, 32, 30)) == {"W": (16, 5, 3, 2), "b": (16,)}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_filters": 0}, r"^num_filters is 0; expected a whole number from 1\.$"),
            ({"filter_size": (0, 3)}, r"^filter_size is \(0, 3\); expected \(rows, columns\), whole numbers from 1\.$"),
            ({"filter_size": 3}, r"^filter_size is 3; "),
            ({"filter_size": (3,)}, r"^filter_size is \(3,\); "),
            ({"filter_size": (3, 3, 3)}, r"^filter_size is \(3, 3, 3\); "),
            ({"filter_size": (3, 3.0)}, r"^filter_size is \(3, 3\.0\); "),
            ({"filter_size": (3, True)}, r"^filter_size is \(3, True\); "),
            ({"stride": (1, 0)}, r"^stride is \(1, 0\); expected \(rows, columns\), whole numbers from 1\.$"),
            ({"pad": (0, -1)}, r"^pad is \(0, -1\); expected \(rows, columns\), whole numbers from 0\.$"),
            ({"pad": "same"}, r"^pad is 'same'; "),
            ({"nonlinearity": "relu"}, r"^nonlinearity is 'relu'; "),
            ({"nonlinearity": softmax}, r"^nonlinearity is softmax; a convolution takes "),
        ],
    )
    def test_refuses(self, options, message):
        with pytest.raises(DeclarationError, match=message):
            Conv2DLayer(**{"num_filters": 1, "filter_size": (3, 3)} | options).check()

    @pytest.mark.parametrize("filter_size", [(33, 1), (1, 31)])
    def test_refuses_a_filter_larger_than_the_image(self, filter_size):
        with pytest.raises(DeclarationError, match=r"larger than the layer.s input, 32x30"):
            Conv2DLayer(1, filter_size).output_shape((1, 32, 30))

    def test_refuses_what_is_no_image(self):
        with pytest.raises(DeclarationError, match=r"input has shape \(100,\); .* before the first DenseLayer"):
            Conv2DLayer(1, (3, 3)).output_shape((100,))


class TestMaxPool2DLayer:
    @pytest.mark.parametrize(
        ("layer", "output_shape"),
        [
            (MaxPool2DLayer((2, 2)), (5, 7, 6)),
            (MaxPool2DLayer((3, 1)), (5, 4, 13)),
            (MaxPool2DLayer((14, 13)), (5, 1, 1)),
            (MaxPool2DLayer((3, 3), stride=(2, 1)), (5, 6, 11)),
            (MaxPool2DLayer((2, 2), stride=(5, 12)), (5, 3, 1)),
        ],
    )
    def test_drops_borders_that_fill_no_window(self, layer, output_shape):
        layer.check()

        assert layer.output_shape((5, 14, 13)) == output_shape
        assert layer.weight_shapes((5, 14, 13)) == {}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pool_size": (2, 0)}, r"^pool_size is \(2, 0\); expected \(rows, columns\), whole numbers from 1\.$"),
            ({"stride": (0, 2)}, r"^stride is \(0, 2\); "),
            ({"stride": 2}, r"^stride is 2; "),
        ],
    )
    def test_refuses(self, options, message):
        with pytest.raises(DeclarationError, match=message):
            MaxPool2DLayer(**{"pool_size": (2, 2)} | options).check()

    def test_refuses_a_window_larger_than_the_image(self):
        with pytest.raises(DeclarationError, match=r"pool_size \(2, 3\) is larger than the layer's input, 2x2"):
            MaxPool2DLayer((2, 3)).output_shape((1, 2, 2))

    def test_refuses_what_is_no_image(self):
        with pytest.raises(DeclarationError, match=r"input has shape \(10,\)"):
            MaxPool2DLayer((2, 2)).output_shape((10,))


class TestLayerClass:
    @pytest.mark.parametrize("kind", [InputLayer, DenseLayer, Conv2DLayer, MaxPool2DLayer])
    def test_finds_each_by_its_name(self, kind):
        assert layer_class(kind.__name__) is kind

    def test_suggests_one(self):
        with pytest.raises(
            DeclarationError,
            match=r"^'Conv2dLayer' is no layer; expected InputLayer, DenseLayer, .*Did you mean 'Conv2DLayer'\?$",
        ):
            layer_class("Conv2dLayer")


def test_layers_are_equal_by_their_options():
    assert DenseLayer(3) == DenseLayer(3, rectify)
    assert DenseLayer(3) != DenseLayer(3, linear)
