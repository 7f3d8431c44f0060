from __future__ import annotations

import json

import pytest

from pipeline.errors import DeclarationError
from pipeline.networks.declaration import (
    BatchIterator,
    Hyperparameters,
    Network,
    TrainSplit,
    architecture,
    hyperparameters,
    nesterov_momentum,
)
from pipeline.networks.layers import Conv2DLayer, DenseLayer, InputLayer, MaxPool2DLayer, rectify, sigmoid, softmax

LAYERS = [
    ("input", InputLayer),
    ("conv1", Conv2DLayer),
    ("pool1", MaxPool2DLayer),
    ("hidden", DenseLayer),
    ("output", DenseLayer),
]

DECLARATION = dict(
    layers=LAYERS,
    input_shape=(None, 3, 9, 8),
    conv1_num_filters=4,
    conv1_filter_size=(3, 2),
    pool1_pool_size=(2, 2),
    hidden_num_units=5,
    hidden_nonlinearity=sigmoid,
    output_num_units=7,
    output_nonlinearity=softmax,
    update=nesterov_momentum,
    update_learning_rate=0.01,
    max_epochs=3,
)


def without(keyword):
    return {key: value for key, value in DECLARATION.items() if key != keyword}


class TestArchitecture:
    def test_is_plain_json(self):
        stated = architecture(DECLARATION)

        assert stated == {
            "layers": [
                ["input", "InputLayer"],
                ["conv1", "Conv2DLayer"],
                ["pool1", "MaxPool2DLayer"],
                ["hidden", "DenseLayer"],
                ["output", "DenseLayer"],
            ],
            "input_shape": [None, 3, 9, 8],
            "conv1_num_filters": 4,
            "conv1_filter_size": [3, 2],
            "pool1_pool_size": [2, 2],
            "hidden_num_units": 5,
            "hidden_nonlinearity": "sigmoid",
            "output_num_units": 7,
            "output_nonlinearity": "softmax",
        }
        assert json.loads(json.dumps(stated)) == stated

    @pytest.mark.parametrize(
        "change",
        [
            {"conv1_nonlinearity": rectify},
            {"conv1_nonlinearity": "rectify"},
            {"conv1_stride": (1, 1), "conv1_pad": (0, 0)},
            {"conv1_stride": 1, "conv1_pad": [0, 0]},
            {"pool1_pool_size": 2, "pool1_stride": None},
            {"layers": [(name, kind.__name__) for name, kind in LAYERS]},
            {"layers": tuple(LAYERS)},
            {"update_learning_rate": 0.5, "update_momentum": 0.1, "max_epochs": 9, "regression": False},
        ],
    )
    def test_is_the_same_however_it_is_written(self, change):
        assert architecture(DECLARATION | change) == architecture(DECLARATION)

    @pytest.mark.parametrize(
        "change",
        [
            {"conv1_nonlinearity": "tanh"},
            {"conv1_stride": (2, 1)},
            {"conv1_pad": 1},
            {"pool1_stride": (1, 1)},
            {"hidden_num_units": 6},
            {"layers": [("pixels", InputLayer), *LAYERS[1:]], "pixels_shape": (None, 3, 9, 8)},
        ],
    )
    def test_is_another_for_another_network(self, change):
        changed = DECLARATION | change
        if "pixels_shape" in change:
            del changed["input_shape"]

        assert architecture(changed) != architecture(DECLARATION)

    def test_builds_the_network_it_came_from(self):
        network = Network.build(json.loads(json.dumps(architecture(DECLARATION))))

        assert architecture({"layers": LAYERS} | _options(network)) == architecture(DECLARATION)

    def test_leaves_the_declaration_alone(self):
        before = dict(DECLARATION)

        architecture(DECLARATION)

        assert before == DECLARATION


def _options(network):
    return {f"{entry.name}_{option}": value for entry in network.layers for option, value in vars(entry.layer).items()}


class TestNetwork:
    @pytest.fixture
    def network(self):
        return Network.build(DECLARATION)

    def test_shapes(self, network):
        assert [layer.output_shape for layer in network.layers] == [(3, 9, 8), (4, 7, 7), (4, 3, 3), (5,), (7,)]
        assert [layer.input_shape for layer in network.layers[1:]] == [(3, 9, 8), (4, 7, 7), (4, 3, 3), (5,)]
        assert network.input_shape == (3, 9, 8)
        assert network.classes == 7

    def test_weights_layer_by_layer(self, network):
        assert list(network.weight_shapes.items()) == [
            ("conv1/W", (4, 3, 3, 2)),
            ("conv1/b", (4,)),
            ("hidden/W", (36, 5)),
            ("hidden/b", (5,)),
            ("output/W", (5, 7)),
            ("output/b", (7,)),
        ]
        assert network.parameter_count == 72 + 4 + 180 + 5 + 35 + 7


class TestClassesLeftToTheData:
    OPEN = without("output_num_units")

    def test_no_number_stands_in_the_architecture(self):
        stated = architecture(DECLARATION)
        del stated["output_num_units"]

        assert architecture(self.OPEN) == stated

    @pytest.mark.parametrize("classes", [1, 2, 7, 256])
    def test_the_last_layer_takes_the_datas(self, classes):
        network = Network.build(self.OPEN, classes)

        assert network.classes == classes
        assert network == Network.build(DECLARATION | {"output_num_units": classes})
        assert Network.build(network.to_json()) == network

    def test_a_number_that_is_declared_stays(self):
        assert Network.build(DECLARATION, classes=3).classes == 7

    def test_somebody_must_say_how_many(self):
        with pytest.raises(DeclarationError, match=r"^the declaration lacks 'output_num_units', .* classes=10\)\.$"):
            Network.build(self.OPEN)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"output_num_unit": 5},
                r"^the declaration has no 'output_num_unit': .* Did you mean 'output_num_units'\?$",
            ),
            ({"output_num_units": None}, r"^layer 'output': num_units is None; expected a whole number from 1\.$"),
            ({"output_nonlinearity": sigmoid}, r"^layer 'output': the last layer, and no other, .* softmax\.$"),
            (
                {"conv1_filter_size": (10, 2)},
                r"^layer 'conv1': filter_size \(10, 2\) is larger than the layer's input, 9x8",
            ),
            ({"layers": LAYERS[:3]}, r"^layer 'pool1': the last layer, and no other, must be a DenseLayer"),
        ],
    )
    def test_mistakes_are_told_before_the_data_is_known(self, change, message):
        with pytest.raises(DeclarationError, match=message):
            architecture(self.OPEN | change)

    def test_other_layers_state_their_units(self):
        with pytest.raises(DeclarationError, match=r"^layer 'hidden' \(DenseLayer\) lacks 'hidden_num_units'\.$"):
            architecture(without("hidden_num_units"))


class TestWrongDeclarations:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"hidden_num_unit": 5},
                r"^the declaration has no 'hidden_num_unit': .* Did you mean 'hidden_num_units'\?$",
            ),
            ({"conv1_pool_size": 2}, r"^the declaration has no 'conv1_pool_size'"),
            ({"hidden_num_units": 0}, r"^layer 'hidden': num_units is 0; expected a whole number from 1\.$"),
            ({"hidden_nonlinearity": "sigmod"}, r"^layer 'hidden': nonlinearity is 'sigmod'; .*'sigmoid'\?$"),
            (
                {"conv1_filter_size": (10, 2)},
                r"^layer 'conv1': filter_size \(10, 2\) is larger than the layer's input, 9x8",
            ),
            ({"pool1_pool_size": (8, 1)}, r"^layer 'pool1': pool_size \(8, 1\) is larger than the layer's input, 7x7"),
            (
                {"input_shape": (None, 72)},
                r"^layer 'conv1': the layer's input has shape \(72,\); expected an image, \(channels, height, width\)",
            ),
            ({"input_shape": (100, 3, 9, 8)}, r"^layer 'input': shape is \(100, 3, 9, 8\); expected \(None, "),
            ({"output_nonlinearity": sigmoid}, r"^layer 'output': the last layer, and no other, .* softmax\.$"),
            ({"hidden_nonlinearity": softmax}, r"^layer 'output': the last layer, and no other, .* softmax\.$"),
            ({"max_epoch": 5}, r"^the declaration has no 'max_epoch': .* Did you mean 'max_epochs'\?$"),
            ({"layers": []}, r"^layers is \[\]; expected a list of \(name, layer class\)\.$"),
            ({"layers": [("input", "InputLyer")]}, r"^'InputLyer' is no layer; .* Did you mean 'InputLayer'\?$"),
            ({"layers": [("input", int)]}, r"^'int' is no layer; expected InputLayer, "),
            ({"layers": [("in-put", InputLayer)]}, r"^layer name 'in-put' must be a Python identifier"),
            ({"layers": [(1, InputLayer)]}, r"^layer name 1 must be a Python identifier"),
            ({"layers": [*LAYERS, LAYERS[-1]]}, r"^two layers are called 'output'; each needs a name of its own\.$"),
            ({"layers": LAYERS[:1]}, r"^layer 'input': the last layer, and no other, must be a DenseLayer"),
            ({"layers": LAYERS[3:]}, r"^layer 'hidden': the first layer, and no other, must be an InputLayer\.$"),
            (
                {"layers": [*LAYERS[:3], ("again", InputLayer), *LAYERS[3:]], "again_shape": (None, 36)},
                r"^layer 'input': the first layer, and no other, must be an InputLayer\.$",
            ),
        ],
    )
    def test_says_what_is_wrong(self, change, message):
        with pytest.raises(DeclarationError, match=message):
            architecture(DECLARATION | change)

    @pytest.mark.parametrize("keyword", ["input_shape", "conv1_num_filters", "conv1_filter_size", "pool1_pool_size"])
    def test_says_what_is_missing(self, keyword):
        layer = keyword.partition("_")[0]

        with pytest.raises(DeclarationError, match=rf"^layer '{layer}' \(\w+\) lacks '{keyword}'\.$"):
            architecture(without(keyword))

    def test_says_that_there_are_no_layers(self):
        with pytest.raises(DeclarationError, match=r"^layers is \[\]; expected"):
            architecture(without("layers"))

    @pytest.mark.parametrize(
        "change",
        [
            {"layers": None},
            {"layers": 5},
            {"layers": [InputLayer, DenseLayer]},
            {"layers": [("input",)]},
            {"layers": [("input", InputLayer, {})]},
            {"layers": [("input", 5)]},
            {"layers": [("input", [])]},
            {"input_shape": 1024},
            {"input_shape": None},
        ],
    )
    def test_never_a_traceback_from_the_depths(self, change):
        with pytest.raises(DeclarationError):
            architecture(DECLARATION | change)


class TestHyperparameters:
    def test_nolearns_defaults(self):
        assert hyperparameters(DECLARATION) == Hyperparameters(
            learning_rate=0.01, momentum=0.9, epochs=3, batch_size=128, validation_fraction=0.2
        )

    def test_all_that_can_be_declared(self):
        declared = hyperparameters(
            DECLARATION
            | dict(
                update="nesterov_momentum",
                update_momentum=0,
                batch_iterator_train=BatchIterator(batch_size=32),
                train_split=TrainSplit(eval_size=0.25),
                verbose=1,
            )
        )

        assert declared == Hyperparameters(0.01, 0, 3, 32, 0.25)

    @pytest.mark.parametrize("keyword", ["update_learning_rate", "max_epochs"])
    def test_must_be_given(self, keyword):
        with pytest.raises(DeclarationError, match=rf"^the declaration lacks '{keyword}'\.$"):
            hyperparameters(without(keyword))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"update": "adam"}, r"^update is 'adam'; expected nesterov_momentum\.$"),
            ({"regression": True}, r"^regression is True; only classification"),
            ({"update_learning_rate": 0}, r"^learning_rate is 0; expected a number above 0\.$"),
            ({"update_learning_rate": -1e-3}, r"^learning_rate is -0\.001; "),
            ({"update_learning_rate": float("nan")}, r"^learning_rate is nan; "),
            ({"update_learning_rate": float("inf")}, r"^learning_rate is inf; "),
            ({"update_learning_rate": "0.01"}, r"^learning_rate is '0\.01'; "),
            ({"update_learning_rate": True}, r"^learning_rate is True; "),
            ({"update_momentum": 1}, r"^momentum is 1; expected a number of at least 0 and below 1\.$"),
            ({"update_momentum": -0.1}, r"^momentum is -0\.1; "),
            ({"max_epochs": 0}, r"^epochs is 0; expected a whole number from 1\.$"),
            ({"max_epochs": 2.0}, r"^epochs is 2\.0; "),
            ({"batch_iterator_train": BatchIterator(0)}, r"^batch_size is 0; expected a whole number from 1\.$"),
            ({"train_split": TrainSplit(0)}, r"^validation_fraction is 0; expected a number above 0 and up to 0\.5\.$"),
            ({"train_split": TrainSplit(0.6)}, r"^validation_fraction is 0\.6; "),
        ],
    )
    def test_says_what_is_wrong(self, change, message):
        with pytest.raises(DeclarationError, match=message):
            hyperparameters(DECLARATION | change)

    @pytest.mark.parametrize("change", [{"batch_iterator_train": 128}, {"train_split": 0.2}])
    def test_never_a_traceback_from_the_depths(self, change):
        with pytest.raises(DeclarationError):
            hyperparameters(DECLARATION | change)

    def test_replaced(self):
        before = Hyperparameters(0.01, 0.9, 3)

        assert before.replaced(epochs=5, learning_rate=None, momentum=0) == Hyperparameters(0.01, 0, 5)
        assert before == Hyperparameters(0.01, 0.9, 3)

    def test_replaced_values_are_checked(self):
        with pytest.raises(DeclarationError, match=r"^epochs is 0; "):
            Hyperparameters(0.01, 0.9, 3).replaced(epochs=0)
