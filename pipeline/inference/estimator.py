"""Train the networks on arrays, as a scikit-learn classifier with fit, predict and score.

::

    from sklearn.datasets import load_digits
    from pipeline.inference.estimator import NetworkClassifier

    digits = load_digits()
    images = digits.images.repeat(4, axis=1).repeat(4, axis=2) / 16 - 0.5  # (1797, 32, 32), from -0.5 to 0.5
    classifier = NetworkClassifier("cnn", epochs=10, batch_size=32, random_state=42)
    classifier.fit(images[:1500], digits.target[:1500])
    print(classifier.score(images[1500:], digits.target[1500:]))
"""

from __future__ import annotations

import math
import sys
from dataclasses import KW_ONLY, asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.data.dataset import MAX_CLASSES
from pipeline.engines import devices, lease
from pipeline.engines.engine import Engine, Examples, Training, load_engine
from pipeline.networks.arrays import FloatArray, LabelArray
from pipeline.networks.declaration import Declaration, Hyperparameters, Network, architecture, hyperparameters
from pipeline.networks.declared import find_network
from pipeline.networks.layers import Shape
from pipeline.networks.weights import draw_weights
from pipeline.progress.console import ConsoleMonitor
from pipeline.progress.monitor import SILENT
from pipeline.training.examples import split
from pipeline.training.train import fit

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import Tags, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        f"pipeline.inference.estimator needs scikit-learn, which is not installed. "
        f"Type `{sys.executable} -m pip install scikit-learn`."
    ) from None


@dataclass(eq=False, repr=False)  # scikit-learn compares and prints estimators in its own way
class NetworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A declared network as a scikit-learn classifier.

    Inputs have the shape (N, height, width), (N, channels, height, width) or (N, features). They are not scaled: values
    from -0.5 to 0.5, like the pipeline's, suit the networks' learning rates. The network's input shape and the units
    of its last layer are set from the data. A convolutional network takes a row of features as an image of the declared
    shape, or as a square one. Labels may have any type that scikit-learn takes.

    Without shuffling, the weights are the same as the pipeline's on the same images from the same seed.

    Parameters
    ----------
    network : str or declaration (default="mlp")
        A name in `pipeline.networks.declared.NETWORKS`, or another declaration in nolearn's keywords.
    epochs, learning_rate, momentum, batch_size, validation_fraction : (default=None)
        As in `pipeline.networks.declaration.Hyperparameters`; None stands for the declared value.
    shuffle : bool (default=True)
        Whether the images are shuffled once, before some are held out for validation; every epoch takes minibatches
        in this order. On data sorted by class a network learns little: on all of the example's digits, sorted, the CNN
        reaches an accuracy of 0.10, and shuffled 0.99.
    random_state : int, RandomState or None (default=None)
        Determines the initial weights and the order. An int is the seed, like the pipeline's ``--seed``.
    engine, device : str (default="auto")
        See `pipeline.engines.devices.choose`.
    threads : int or None (default=None)
        CPU threads; None stands for all cores.
    verbose : bool (default=False)
        Whether to print a row for each epoch.

    Attributes
    ----------
    classes_, n_features_in_
        The labels, sorted; the number of values of an image.
    network_, weights_
        The network, fitted to the data; its weights, in Lasagne's names and shapes, such as ``hidden/W``.
    history_ : list of dict
        For each epoch the fields of `pipeline.training.history.Epoch`.
    """

    network: str | Declaration = "mlp"
    _: KW_ONLY
    epochs: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    batch_size: int | None = None
    validation_fraction: float | None = None
    shuffle: bool = True
    random_state: int | np.random.RandomState | None = None
    engine: str = "auto"
    device: str = "auto"
    threads: int | None = None
    verbose: bool = False

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:  # noqa: N803, scikit-learn's name
        """Train the network from new weights, on images ``X``, of a shape named above, and labels ``y``, shape (N,).

        Raises `ValueError` if the images or the labels are not valid, `DeclarationError` if the declaration is not, or
        does not fit images of this size, `EngineError` if the engine cannot train the network or the loss is not
        finite, and the errors of `find_network`, `devices.choose` and `load_engine`.
        """
        rows, targets = validate_data(self, _in_rows(X), y, dtype=np.float32)
        check_classification_targets(targets)
        self.classes_, labels = np.unique(targets, return_inverse=True)
        if len(self.classes_) > MAX_CLASSES:
            raise ValueError(f"y has {len(self.classes_)} classes; expected at most {MAX_CLASSES}.")
        declared, how = self._declared()
        self.network_ = _fitted_to(declared, _image_shape(X, rows), len(self.classes_))
        seed = self._seed()
        train, valid = self._split(rows, labels.astype(np.uint8), how.validation_fraction, seed)
        training = Training(self.network_, how, draw_weights(self.network_, seed), train, valid)
        with ConsoleMonitor("fit") as console:
            trained = fit(training, self._loaded_engine(), monitor=console if self.verbose else SILENT)
        self.weights_ = trained.weights
        self.history_ = [asdict(epoch) for epoch in trained.history]
        return self

    def predict_proba(self, X: npt.ArrayLike) -> FloatArray:  # noqa: N803, scikit-learn's name
        """Return the probability of each of ``classes_`` for each image, shape (N, classes), float32.

        Raises `NotFittedError` before `fit`, and `ValueError` if the images have another shape than those of `fit`.
        """
        check_is_fitted(self)
        rows = validate_data(self, _in_rows(X), dtype=np.float32, reset=False)
        expected, given = self.network_.input_shape, _image_shape(X, rows)
        if _input_shape(given, expected) != expected:
            raise ValueError(f"X holds images of shape {given}; the network was fitted to {expected}.")
        images = _as_images(rows, self.network_)
        return self._loaded_engine().probabilities(self.network_, self.weights_, images)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:  # noqa: N803, scikit-learn's name
        """Return the most probable label of each image, shape (N,); see `predict_proba` for images and errors."""
        probabilities = self.predict_proba(X)
        predicted: npt.NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return predicted

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _declared(self) -> tuple[dict[str, Any], Hyperparameters]:
        """Return the architecture, in JSON's types, and the hyperparameters."""
        if isinstance(self.network, str):
            declared, how = find_network(self.network)
        else:
            declared, how = architecture(self.network), hyperparameters(self.network)
        given = {field.name: getattr(self, field.name) for field in fields(Hyperparameters)}
        # A parameter search passes numbers of NumPy's types.
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        return declared, how.replaced(**plain)

    def _loaded_engine(self) -> Engine:
        choice = devices.choose(self.engine, self.device)
        lease.show(choice.cards)
        return load_engine(choice.engine, choice.device, self.threads or devices.cores())

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _split(
        self, rows: FloatArray, labels: LabelArray, validation_fraction: float, seed: int
    ) -> tuple[Examples, Examples]:
        """Split the images into those that train and those that validate."""
        if self.shuffle:
            order = np.random.RandomState(seed).permutation(len(rows))
            rows, labels = rows[order], labels[order]
        validates = split(labels, validation_fraction)
        if validates.all():
            raise ValueError(f"n_samples={len(rows)}: all of them would be held out for validation; expected more.")
        train, valid = (
            Examples(_as_images(rows[chosen], self.network_), labels[chosen]) for chosen in (~validates, validates)
        )
        return train, valid


def _in_rows(images: npt.ArrayLike) -> npt.ArrayLike:
    """Return images as rows of values; scikit-learn's checks refuse other inputs."""
    return images.reshape(len(images), -1) if isinstance(images, np.ndarray) and images.ndim in (3, 4) else images


def _image_shape(images: npt.ArrayLike, rows: FloatArray) -> Shape:
    return images.shape[1:] if isinstance(images, np.ndarray) else rows.shape[1:]


def _as_images(rows: FloatArray, network: Network) -> FloatArray:
    # The kernels are compiled for writable arrays, and a memory map may be read-only.
    return np.require(rows, requirements=["C", "W"]).reshape(len(rows), *network.input_shape)


def _fitted_to(declared: dict[str, Any], image_shape: Shape, classes: int) -> Network:
    """Build a declared network with the input shape and the number of classes of the data."""
    (first, _), *_, (last, _) = declared["layers"]
    shape = _input_shape(image_shape, tuple(declared[f"{first}_shape"][1:]))
    fitted = declared | {f"{first}_shape": [None, *shape]}
    fitted.pop(f"{last}_num_units", None)
    return Network.build(fitted, classes)


def _input_shape(image_shape: Shape, declared: Shape) -> Shape:
    """Return a network's input shape for images: flat or not, as declared, and as large as the images."""
    values = math.prod(image_shape)
    match declared, image_shape:
        case ((_,), _):
            return (values,)
        case _, (height, width):
            return (1, height, width)
        case _, (_, _, _):
            return image_shape
    side = math.isqrt(values)
    if values == math.prod(declared):
        return declared
    if values == side**2:
        return (1, side, side)
    raise ValueError(
        f"X has {values} features, which form no image: expected {math.prod(declared)}, for {declared}, or the square "
        "of a number. Pass X as (N, height, width) or (N, channels, height, width)."
    )
