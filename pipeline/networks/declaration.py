"""Build a checked `Network` from its declaration in nolearn's keywords.

A declaration is a dict of the keyword arguments of nolearn's ``NeuralNet``::

    dict(
        layers=[("input", InputLayer), ("hidden", DenseLayer), ("output", DenseLayer)],
        input_shape=(None, 1024),
        hidden_num_units=100,
        output_nonlinearity=softmax,
        update=nesterov_momentum,
        update_learning_rate=0.01,
        update_momentum=0.9,
        max_epochs=50,
    )

The option of a layer begins with the layer's name: ``hidden_num_units``. The last layer has a unit for each class;
without its ``num_units``, as here, it has as many units as the data has classes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import DeclarationError, did_you_mean
from pipeline.networks.layers import (
    DenseLayer,
    InputLayer,
    Layer,
    Nonlinearity,
    Pair,
    Shape,
    is_whole,
    layer_class,
    softmax,
)

Declaration = Mapping[str, Any]
"""A network in nolearn's keywords, or in JSON's types as `architecture` returns it."""

nesterov_momentum = "nesterov_momentum"
"""The rule that updates the weights from their gradient, by Lasagne's name for it."""


@dataclass(frozen=True)
class BatchIterator:
    """Minibatches in file order; the last one is smaller if the images do not fill it."""

    batch_size: int = 128


@dataclass(frozen=True)
class TrainSplit:
    """The fraction of the training images to hold out for validation."""

    eval_size: float = 0.2


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of a training, with nolearn's defaults.

    The learning rate is the factor of the gradient of a minibatch's mean loss. The momentum is Nesterov's, at least 0
    and below 1. The validation fraction is the part of the training images that is held out.
    """

    learning_rate: float
    momentum: float
    epochs: int
    batch_size: int = 128
    validation_fraction: float = 0.2

    def __post_init__(self) -> None:
        fraction = self.validation_fraction
        for name, is_allowed, expected in (
            ("learning_rate", _is_number(self.learning_rate) and self.learning_rate > 0, "a number above 0"),
            ("momentum", _is_number(self.momentum) and 0 <= self.momentum < 1, "a number of at least 0 and below 1"),
            ("epochs", is_whole(self.epochs), "a whole number from 1"),
            ("batch_size", is_whole(self.batch_size), "a whole number from 1"),
            ("validation_fraction", _is_number(fraction) and 0 < fraction <= 0.5, "a number above 0 and up to 0.5"),
        ):
            if not is_allowed:
                raise DeclarationError(f"{name} is {getattr(self, name)!r}; expected {expected}.")

    def replaced(self, **values: float | int | None) -> Hyperparameters:
        """Return a copy with the given values; None keeps a value."""
        given = {name: value for name, value in values.items() if value is not None}
        return dataclasses.replace(self, **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class NamedLayer:
    """A layer of a network, with its name and the shapes of its input and output."""

    name: str
    layer: Layer
    input_shape: Shape
    output_shape: Shape

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Shapes of the layer's weights by their full names, such as ``conv1/W``."""
        shapes = self.layer.weight_shapes(self.input_shape)
        return {f"{self.name}/{weight}": shape for weight, shape in shapes.items()}


@dataclass(frozen=True)
class Network:
    """A checked network: its layers in the order in which data flows, the input layer first."""

    layers: tuple[NamedLayer, ...]

    @property
    def input_shape(self) -> Shape:
        """Shape of one image: ``(units,)`` or ``(channels, height, width)``."""
        return self.layers[0].output_shape

    @property
    def picture_size(self) -> Pair | None:
        """Rows and columns of the gray picture that the network takes, or None; a flat picture is a square."""
        match self.input_shape:
            case (1, rows, columns):
                return rows, columns
            case (units,) if math.isqrt(units) ** 2 == units:
                return math.isqrt(units), math.isqrt(units)
        return None

    @property
    def classes(self) -> int:
        """Number of classes, which is the number of units of the last layer."""
        return self.layers[-1].output_shape[0]

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Shapes of all weights by name, layer by layer."""
        return {name: shape for layer in self.layers for name, shape in layer.weight_shapes.items()}

    @property
    def parameter_count(self) -> int:
        """Number of values that training adjusts."""
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    @classmethod
    def build(cls, declaration: Declaration, classes: int | None = None) -> Network:
        """Build the network that a declaration, or its `architecture`, describes.

        ``classes`` is the number of the data's classes, for a last layer without ``num_units``. Raises
        `DeclarationError` if the declaration is not valid, or if neither states the number of classes.
        """
        options = dict(declaration)
        listed = _checked_layers(options.get("layers", []))
        last, last_kind = listed[-1]
        if last_kind is DenseLayer and f"{last}_num_units" not in options:
            if classes is None:
                raise DeclarationError(
                    f"the declaration lacks '{last}_num_units', which leaves the number of classes to the data. "
                    "Pass it: Network.build(declaration, classes=10)."
                )
            options[f"{last}_num_units"] = classes
        layers: list[NamedLayer] = []
        for name, kind in listed:
            layers.append(_named_layer(name, kind, options, layers[-1].output_shape if layers else ()))
        _check_ends(layers)
        _check_keywords(options, listed)
        return cls(tuple(layers))

    def to_json(self) -> dict[str, Any]:
        """Return the architecture in JSON's types, as nolearn's keywords; default values are left out."""
        plain: dict[str, Any] = {"layers": [[entry.name, type(entry.layer).__name__] for entry in self.layers]}
        for entry in self.layers:
            for field in dataclasses.fields(entry.layer):
                value = getattr(entry.layer, field.name)
                if value != field.default:
                    plain[f"{entry.name}_{field.name}"] = value
        in_json: dict[str, Any] = json.loads(json.dumps(plain))  # tuples become lists, members of an enum strings
        return in_json


TRAINING_KEYWORDS = {
    "update": nesterov_momentum,
    "update_learning_rate": None,
    "update_momentum": 0.9,
    "max_epochs": None,
    "batch_iterator_train": BatchIterator(),
    "train_split": TrainSplit(),
    "regression": False,
    "verbose": 0,
}
"""The keywords of a declaration that concern training, with nolearn's and Lasagne's defaults; None: no default."""


def architecture(declaration: Declaration) -> dict[str, Any]:
    """Return the part of a declaration that describes the network itself, in JSON's types and in normal form.

    Layer classes become their names, tuples become lists, and options with their default value are left out. The units
    of the last layer are left out if the declaration does not state them. Raises the errors of `Network.build`.
    """
    plain = Network.build(declaration, classes=1).to_json()  # any number of classes shows the mistakes
    units_of_last = f"{plain['layers'][-1][0]}_num_units"
    if units_of_last not in declaration:
        del plain[units_of_last]
    return plain


def hyperparameters(declaration: Declaration) -> Hyperparameters:
    """Return a declaration's hyperparameters; raise `DeclarationError` if one is missing or not allowed."""
    stated = {keyword: declaration.get(keyword, default) for keyword, default in TRAINING_KEYWORDS.items()}
    for keyword, value in stated.items():
        if value is None:
            raise DeclarationError(f"the declaration lacks {keyword!r}.")
    if stated["update"] != nesterov_momentum:
        raise DeclarationError(f"update is {stated['update']!r}; expected nesterov_momentum.")
    for keyword, kind in (("batch_iterator_train", BatchIterator), ("train_split", TrainSplit)):
        if not isinstance(stated[keyword], kind):
            raise DeclarationError(f"{keyword} is {stated[keyword]!r}; expected a {kind.__name__}.")
    if stated["regression"]:
        raise DeclarationError("regression is True; only classification (regression=False) is supported.")
    return Hyperparameters(
        learning_rate=stated["update_learning_rate"],
        momentum=stated["update_momentum"],
        epochs=stated["max_epochs"],
        batch_size=stated["batch_iterator_train"].batch_size,
        validation_fraction=stated["train_split"].eval_size,
    )


def _checked_layers(listed: Any) -> list[tuple[str, type[Layer]]]:
    """Return the names and classes of layers, which are given by class or by the class's name."""
    entries = listed if isinstance(listed, list | tuple) else ()
    if not entries or not all(isinstance(entry, list | tuple) and len(entry) == 2 for entry in entries):
        raise DeclarationError(f"layers is {listed!r}; expected a list of (name, layer class).")
    names = [name for name, _ in entries]
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise DeclarationError(f"layer name {name!r} must be a Python identifier, such as 'conv1'.")
        if names.count(name) > 1:
            raise DeclarationError(f"two layers are called {name!r}; each needs a name of its own.")
    return [(name, layer_class(kind.__name__ if isinstance(kind, type) else kind)) for name, kind in entries]


def _named_layer(name: str, kind: type[Layer], options: Declaration, input_shape: Shape) -> NamedLayer:
    """Build a layer from its options among those of all layers."""
    values = {}
    for field in dataclasses.fields(kind):
        keyword = f"{name}_{field.name}"
        if keyword in options:
            values[field.name] = _from_json(field.name, options[keyword])
        elif field.default is dataclasses.MISSING:
            raise DeclarationError(f"layer {name!r} ({kind.__name__}) lacks {keyword!r}.")
    layer = kind(**values)
    try:
        layer.check()
        return NamedLayer(name, layer, input_shape, layer.output_shape(input_shape))
    except DeclarationError as error:
        raise DeclarationError(f"layer {name!r}: {error}") from None


def _check_keywords(declaration: Declaration, listed: list[tuple[str, type[Layer]]]) -> None:
    options = [f"{name}_{field.name}" for name, kind in listed for field in dataclasses.fields(kind)]
    for keyword in declaration:
        if keyword not in ("layers", *options, *TRAINING_KEYWORDS):
            raise DeclarationError(
                f"the declaration has no {keyword!r}: it is neither an option of one of its layers nor a keyword of "
                f"training.{did_you_mean(keyword, [*options, *TRAINING_KEYWORDS])}"
            )


def _check_ends(layers: list[NamedLayer]) -> None:
    first, last = layers[0], layers[-1]
    if [entry for entry in layers if isinstance(entry.layer, InputLayer)] != [first]:
        raise DeclarationError(f"layer {first.name!r}: the first layer, and no other, must be an InputLayer.")
    if [entry for entry in layers if getattr(entry.layer, "nonlinearity", None) == softmax] != [last]:
        raise DeclarationError(
            f"layer {last.name!r}: the last layer, and no other, must be a DenseLayer with nonlinearity softmax."
        )


def _from_json(option: str, value: Any) -> Any:
    """Return an option's value in the type of the layer's field; `Layer.check` reports a wrong value."""
    if isinstance(value, list):
        return tuple(value)
    if option == "nonlinearity" and value in list(Nonlinearity):
        return Nonlinearity(value)
    if option in ("filter_size", "pool_size", "stride", "pad") and is_whole(value, least=0):
        return (value, value)
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
