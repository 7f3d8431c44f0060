"""From a network's declaration, in nolearn's keywords, to a checked `Network`.

A declaration is what one would pass to nolearn's ``NeuralNet``::

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

An option of a layer carries the layer's name in front: ``hidden_num_units``. The last layer has a unit for each class;
where its ``num_units`` are left out, as here, the data decides how many.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.errors import DeclarationError, did_you_mean
from pipeline.networks.layers import DenseLayer, InputLayer, Layer, Nonlinearity, Shape, layer_class, softmax

Declaration = Mapping[str, Any]


class Update(StrEnum):
    """How the weights follow their gradient."""

    nesterov_momentum = "nesterov_momentum"


nesterov_momentum = Update.nesterov_momentum


@dataclass(frozen=True)
class BatchIterator:
    """Minibatches in file order, the last one smaller."""

    batch_size: int = 128


@dataclass(frozen=True)
class TrainSplit:
    """The part of the training images that is held out for validation."""

    eval_size: float = 0.2


@dataclass(frozen=True)
class Hyperparameters:
    """How a network is trained.

    Parameters
    ----------
    learning_rate : float
        Step along the gradient of the mean loss of a minibatch.
    momentum : float
        Nesterov momentum, from 0 up to but not including 1.
    epochs : int
        Passes over the training images.
    batch_size : int (default=128)
        Images in a minibatch; nolearn's default.
    validation_fraction : float (default=0.2)
        Part of the training images held out for validation; nolearn's default.
    """

    learning_rate: float
    momentum: float
    epochs: int
    batch_size: int = 128
    validation_fraction: float = 0.2

    def __post_init__(self) -> None:
        _require(
            "learning_rate",
            self.learning_rate,
            _is_number(self.learning_rate) and self.learning_rate > 0,
            "a number above 0",
        )
        _require(
            "momentum",
            self.momentum,
            _is_number(self.momentum) and 0 <= self.momentum < 1,
            "a number from 0 up to, but not including, 1",
        )
        _require("epochs", self.epochs, _is_count(self.epochs), "a whole number from 1")
        _require("batch_size", self.batch_size, _is_count(self.batch_size), "a whole number from 1")
        _require(
            "validation_fraction",
            self.validation_fraction,
            _is_number(self.validation_fraction) and 0 < self.validation_fraction <= 0.5,
            "a number above 0 and up to 0.5",
        )

    def replaced(self, **values: float | int | None) -> Hyperparameters:
        """Return a copy with the given values in place; None leaves a value as it is."""
        given = {name: value for name, value in values.items() if value is not None}
        return dataclasses.replace(self, **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class NamedLayer:
    """A layer in its place: its name, what it is, and the shapes of what goes in and comes out."""

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
    def classes(self) -> int:
        """How many classes the output layer tells apart."""
        return self.layers[-1].output_shape[0]

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Shapes of all weights by name, layer by layer."""
        return {name: shape for layer in self.layers for name, shape in layer.weight_shapes.items()}

    @property
    def parameter_count(self) -> int:
        """How many numbers training adjusts."""
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    @classmethod
    def from_json(cls, architecture: Mapping[str, Any], classes: int | None = None) -> Network:
        """Build the network from what `architecture` returned.

        Parameters
        ----------
        classes : int, optional
            How many classes the data has: the units of the last layer, where the declaration leaves them out.

        Raises
        ------
        DeclarationError
            The architecture is not valid, or nothing says how many classes there are.
        """
        options = dict(architecture)
        listed = _checked_names(options.pop("layers", None))
        if left_open := _left_open(listed, options):
            if classes is None:
                raise DeclarationError(
                    f"the declaration lacks {left_open!r}, which leaves the number of classes to the data. "
                    "Give it too: Network.from_json(architecture, classes=10)."
                )
            options[left_open] = classes
        layers: list[NamedLayer] = []
        shape: Shape = ()
        for name, class_name in listed:
            layer = _build(name, layer_class(class_name), options)
            try:
                layer.check()
                output_shape = layer.output_shape(shape)
            except DeclarationError as error:
                raise DeclarationError(f"layer {name!r}: {error}") from None
            layers.append(NamedLayer(name, layer, shape, output_shape))
            shape = output_shape
        _check_ends(layers)
        if options:
            known = [f"{name}_{option}" for name, kind in listed for option in layer_class(kind).option_names()]
            unknown = next(iter(options))
            raise DeclarationError(
                f"the declaration has no {unknown!r}: it is neither an option of one of its layers nor a keyword of "
                f"training.{did_you_mean(unknown, [*known, *TRAINING_KEYWORDS])}"
            )
        return cls(tuple(layers))

    def to_json(self) -> dict[str, Any]:
        """Return the architecture in JSON's types, as nolearn's keywords; default values are left out."""
        plain: dict[str, Any] = {"layers": [[entry.name, type(entry.layer).__name__] for entry in self.layers]}
        for entry in self.layers:
            for field in dataclasses.fields(entry.layer):
                value = getattr(entry.layer, field.name)
                if value != field.default:
                    plain[f"{entry.name}_{field.name}"] = _as_json(value)
        return plain


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
"""What a declaration says of training, with nolearn's and Lasagne's defaults; None must be given."""


def architecture(declaration: Declaration) -> dict[str, Any]:
    """Return what a declaration says of the network itself, in JSON's types and normal form.

    Layer classes become their names, tuples lists; options that have their default value are left out. The units of the
    last layer are left out where the declaration leaves them out.

    Raises
    ------
    DeclarationError
        The declaration is not valid.
    """
    stated = {keyword: value for keyword, value in declaration.items() if keyword not in TRAINING_KEYWORDS}
    pairs = [
        (name, kind.__name__ if isinstance(kind, type) else kind)
        for name, kind in _checked_names(stated.pop("layers", []))
    ]
    any_number = 1  # mistakes show with any
    plain = Network.from_json({"layers": pairs, **stated}, any_number).to_json()
    if left_open := _left_open(pairs, stated):
        del plain[left_open]
    return plain


def hyperparameters(declaration: Declaration) -> Hyperparameters:
    """Return what a declaration says of training.

    Raises
    ------
    DeclarationError
        A value is missing or not allowed.
    """
    stated = {keyword: declaration.get(keyword, default) for keyword, default in TRAINING_KEYWORDS.items()}
    missing = [keyword for keyword, value in stated.items() if value is None]
    if missing:
        raise DeclarationError(f"the declaration lacks {missing[0]!r}.")
    if stated["update"] not in list(Update):
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


def _checked_names(listed: Any) -> list[tuple[str, Any]]:
    entries = listed if isinstance(listed, list | tuple) else ()
    if not entries or not all(isinstance(entry, list | tuple) and len(entry) == 2 for entry in entries):
        raise DeclarationError(f"layers is {listed!r}; expected a list of (name, layer class).")
    names = [name for name, _ in listed]
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise DeclarationError(f"layer name {name!r} must be a Python identifier, such as 'conv1'.")
        if names.count(name) > 1:
            raise DeclarationError(f"two layers are called {name!r}; each needs a name of its own.")
    return [(name, kind) for name, kind in listed]


def _left_open(listed: list[tuple[str, Any]], options: Mapping[str, Any]) -> str | None:
    """Return the option that says how many units the last layer has, where the declaration leaves it to the data."""
    name, class_name = listed[-1]
    option = f"{name}_num_units"
    return option if class_name == DenseLayer.__name__ and option not in options else None


def _build(name: str, kind: type[Layer], options: dict[str, Any]) -> Layer:
    """Make a layer, taking its options out of ``options``."""
    values = {}
    for field in dataclasses.fields(kind):
        keyword = f"{name}_{field.name}"
        if keyword in options:
            values[field.name] = _from_json(field.name, options.pop(keyword))
        elif field.default is dataclasses.MISSING:
            raise DeclarationError(f"layer {name!r} ({kind.__name__}) lacks {keyword!r}.")
    return kind(**values)


def _check_ends(layers: list[NamedLayer]) -> None:
    first, last = layers[0], layers[-1]
    if not isinstance(first.layer, InputLayer) or any(isinstance(entry.layer, InputLayer) for entry in layers[1:]):
        raise DeclarationError(f"layer {first.name!r}: the first layer, and no other, must be an InputLayer.")
    ends_in_softmax = getattr(last.layer, "nonlinearity", None) == softmax
    inner_softmax = [entry.name for entry in layers[:-1] if getattr(entry.layer, "nonlinearity", None) == softmax]
    if not ends_in_softmax or inner_softmax:
        raise DeclarationError(
            f"layer {last.name!r}: the last layer, and no other, must be a DenseLayer with nonlinearity softmax."
        )


def _from_json(option: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if option == "nonlinearity" and value in list(Nonlinearity):
        return Nonlinearity(value)
    if option in ("filter_size", "pool_size", "stride", "pad") and _is_whole(value):
        return (value, value)
    return value


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, StrEnum) else value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_whole(value) and value >= 1  # type: ignore[operator]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(name: str, value: object, allowed: bool, expected: str) -> None:
    if not allowed:
        raise DeclarationError(f"{name} is {value!r}; expected {expected}.")
